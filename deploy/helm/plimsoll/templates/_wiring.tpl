{{/* What each service needs, who calls it, and whether it goes outside. Nothing here is for users to choose. */}}
{{- define "plimsoll.wiring" -}}
gateway: {package: gateway, needs: [postgres, redis], peers: [orchestrator, tool-dispatcher, model-router, memory, feedback], outside: false}
orchestrator: {package: orchestrator, needs: [postgres, nats], peers: [tool-dispatcher, model-router, memory], outside: false}
worker: {package: orchestrator, needs: [postgres, nats], peers: [tool-dispatcher, model-router, memory], outside: true}
tool-dispatcher: {package: tool-dispatcher, needs: [postgres, nats, redis], peers: [memory], outside: true}
model-router: {package: model-router, needs: [postgres, nats, redis], peers: [feedback], outside: true}
memory: {package: memory, needs: [postgres, nats], peers: [model-router], outside: false}
feedback: {package: feedback, needs: [postgres, nats], peers: [orchestrator, tool-dispatcher, model-router], outside: false}
{{- end -}}

{{- define "plimsoll.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: plimsoll
{{- end -}}

{{- define "plimsoll.allLabels" -}}
{{ include "plimsoll.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* Spread over nodes and zones, as evenly as there are any; in a rolling upgrade the new replicas among themselves. */}}
{{- define "plimsoll.spread" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: {app.kubernetes.io/name: {{ $.name }}, app.kubernetes.io/instance: {{ $.root.Release.Name }}}}
    {{- if $.wiring }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end -}}

{{/* What is common to all pods: no token, none of the variables that Kubernetes would add for the services around. */}}
{{- define "plimsoll.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {runAsNonRoot: true, runAsUser: {{ .user }}, runAsGroup: {{ .user }}, fsGroup: {{ .user }}, seccompProfile: {type: RuntimeDefault}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- range . }}{{ "\n" }}  - {name: {{ . }}}{{ end }}
{{- end }}
{{- end -}}

{{- define "plimsoll.locked" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Runs before an upgrade; before an install, too, when the database is there already: that of the chart is not. */}}
{{- define "plimsoll.before" -}}
{{- if or .root.Release.IsUpgrade (not .root.Values.postgres.bundled) -}}
annotations:
  helm.sh/hook: {{ ternary "pre-upgrade" "pre-install,pre-upgrade" .root.Values.postgres.bundled }}
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
{{- end -}}

{{- define "plimsoll.image" -}}
{{ printf "%s/%s:%s" .root.Values.image.repository .wiring.package (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
{{- end -}}

{{- define "plimsoll.listens" -}}
ports:
  - {name: grpc, port: 7000, targetPort: grpc}
  - {name: admin, port: 7001, targetPort: admin}
{{- end -}}

{{/* A service's settings as environment variables; what the values say of one takes the place of ours. Numbers as JSON has them, or a
     million would be 1e+06. */}}
{{- define "plimsoll.environment" -}}
{{- range include "plimsoll.settings" . | fromYamlArray }}
{{- if not (hasKey ($.values.env | default dict) .name) }}
- {name: {{ .name }}, value: {{ .value | quote }}}
{{- end }}
{{- end }}
{{- range $name, $value := .values.env }}
- {name: {{ $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- end -}}

{{- define "plimsoll.settings" -}}
{{- $prefix := printf "PLIMSOLL_%s" (.wiring.package | replace "-" "_" | upper) -}}
- {name: {{ $prefix }}_TLS_CA, value: /run/secrets/ca.pem}
- {name: {{ $prefix }}_TLS_CERTIFICATE, value: /run/secrets/tls.pem}
- {name: {{ $prefix }}_TLS_KEY, value: /run/secrets/tls.key}
- {name: {{ $prefix }}_LOG_LEVEL, value: {{ .root.Values.logLevel | quote }}}
- {name: {{ $prefix }}_OTLP_ENDPOINT, value: {{ .root.Values.otlpEndpoint | quote }}}
{{- range .wiring.needs }}
- {name: {{ $prefix }}_{{ get (dict "postgres" "POSTGRES_DSN" "nats" "NATS_URL" "redis" "REDIS_URL") . }}_FILE, value: /run/secrets/{{ get (dict "postgres" "postgres_dsn" "nats" "nats_url" "redis" "redis_url") . }}}
{{- end }}
{{- if has "nats" .wiring.needs }}
- {name: {{ $prefix }}_NATS_COPIES, value: {{ min 3 (int .root.Values.nats.replicas) | quote }}}
{{- end }}
{{- range .wiring.peers }}
- {name: {{ $prefix }}_{{ . | replace "-" "_" | upper }}_ADDRESS, value: {{ printf "dns:///%s-%s.%s.svc:7000" $.root.Release.Name . $.root.Release.Namespace | quote }}}
{{- end }}
{{- if eq .name "gateway" }}
- {name: PLIMSOLL_GATEWAY_HTTP_LISTEN, value: "0.0.0.0:8080"}
- {name: PLIMSOLL_GATEWAY_PUBLIC_GRPC_LISTEN, value: "0.0.0.0:8081"}
{{- end }}
{{- if .wiring.package | eq "orchestrator" }}
- {name: PLIMSOLL_ORCHESTRATOR_ROLE, value: {{ ternary "worker" "api" (eq .name "worker") }}}
{{- end }}
{{- if eq .name "tool-dispatcher" }}
- {name: PLIMSOLL_TOOL_DISPATCHER_CREDENTIALS_DIR, value: /run/credentials}
- {name: PLIMSOLL_TOOL_DISPATCHER_TOOL_DIRS, value: "/agents/*/tools,/tools"}
{{- if .root.Values.policies.volume }}
- {name: PLIMSOLL_TOOL_DISPATCHER_POLICY_DIRS, value: /policies}
{{- end }}
{{- end }}
{{- if has .name (list "gateway" "tool-dispatcher" "model-router") }}
- {name: {{ $prefix }}{{ ternary "_LIMIT" "" (eq .name "gateway") }}_REPLICAS, value: {{ ternary .values.autoscaling.max .values.replicas .values.autoscaling.enabled | quote }}}
{{- end }}
{{- end -}}
