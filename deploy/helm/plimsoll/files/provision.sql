-- Written from plimsoll_devstack.servers.provision; a test compares the two. Roles, schemas and grants; safe to repeat.
\set ON_ERROR_STOP on
set client_min_messages = warning;
\set gateway `cat /run/secrets/passwords/gateway`
select 'create role gateway' where not exists (select from pg_roles where rolname = 'gateway') \gexec
alter role gateway with login password :'gateway';
\set orchestrator `cat /run/secrets/passwords/orchestrator`
select 'create role orchestrator' where not exists (select from pg_roles where rolname = 'orchestrator') \gexec
alter role orchestrator with login password :'orchestrator';
\set tool_dispatcher `cat /run/secrets/passwords/tool_dispatcher`
select 'create role tool_dispatcher' where not exists (select from pg_roles where rolname = 'tool_dispatcher') \gexec
alter role tool_dispatcher with login password :'tool_dispatcher';
\set model_router `cat /run/secrets/passwords/model_router`
select 'create role model_router' where not exists (select from pg_roles where rolname = 'model_router') \gexec
alter role model_router with login password :'model_router';
\set memory `cat /run/secrets/passwords/memory`
select 'create role memory' where not exists (select from pg_roles where rolname = 'memory') \gexec
alter role memory with login password :'memory';
\set feedback `cat /run/secrets/passwords/feedback`
select 'create role feedback' where not exists (select from pg_roles where rolname = 'feedback') \gexec
alter role feedback with login password :'feedback';
\set examples `cat /run/secrets/passwords/examples`
select 'create role examples' where not exists (select from pg_roles where rolname = 'examples') \gexec
alter role examples with login password :'examples';
\set examples_reader `cat /run/secrets/passwords/examples_reader`
select 'create role examples_reader' where not exists (select from pg_roles where rolname = 'examples_reader') \gexec
alter role examples_reader with login password :'examples_reader';
select 'create database plimsoll' where not exists (select from pg_database where datname = 'plimsoll') \gexec
select 'create database examples owner examples' where not exists (select from pg_database where datname = 'examples') \gexec
revoke all on database plimsoll from public;
revoke all on database examples from public;
grant all on database examples to examples;
grant connect on database plimsoll to gateway, orchestrator, tool_dispatcher, model_router, memory, feedback;
grant connect on database examples to examples_reader;
grant pg_read_all_data to examples_reader;
alter role examples_reader set default_transaction_read_only = on;
\connect plimsoll
set client_min_messages = warning;
begin;
create extension if not exists vector;
alter function pg_catalog.ts_match_vq(tsvector, tsquery) leakproof;
create schema if not exists gateway authorization gateway;
alter role gateway in database plimsoll set search_path = gateway, public;
create schema if not exists orchestrator authorization orchestrator;
alter role orchestrator in database plimsoll set search_path = orchestrator, public;
create schema if not exists tool_dispatcher authorization tool_dispatcher;
alter role tool_dispatcher in database plimsoll set search_path = tool_dispatcher, public;
create schema if not exists model_router authorization model_router;
alter role model_router in database plimsoll set search_path = model_router, public;
create schema if not exists memory authorization memory;
alter role memory in database plimsoll set search_path = memory, public;
create schema if not exists feedback authorization feedback;
alter role feedback in database plimsoll set search_path = feedback, public;
commit;
