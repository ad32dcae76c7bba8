{{/* The files that the bundled servers read. */}}
{{- define "plimsoll.redis.configuration" -}}
{{ .Files.Get "files/redis.conf" }}
{{- end -}}

{{- define "plimsoll.nats.configuration" -}}
{{- $nats := .Values.nats -}}
{{- $full := printf "%s-nats" .Release.Name -}}
port: {{ $nats.port }}
http_port: 8222
server_name: $NAME
max_payload: 1048576
jetstream {
  store_dir: /data/jetstream
  max_memory_store: 268435456
  max_file_store: 68719476736
  sync_interval: {{ $nats.syncInterval }}
}
{{- if gt (int $nats.replicas) 1 }}
cluster {
  name: {{ $full }}
  port: 6222
  routes: [
    {{- range $number := until (int $nats.replicas) }}
    nats-route://{{ $full }}-{{ $number }}.{{ $full }}.{{ $.Release.Namespace }}.svc:6222
    {{- end }}
  ]
}
{{- end }}
include secrets/accounts.conf
{{- end -}}
