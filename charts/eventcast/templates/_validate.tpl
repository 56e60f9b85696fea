{{/* Rejects contradictory values, which the schema cannot express. Included once, by the Deployment. */}}

{{- define "eventcast.validate" -}}
{{- include "eventcast.validate.operator" . -}}
{{- if .Values.nats.enabled -}}
{{- include "eventcast.validate.bundled" . -}}
{{- else -}}
{{- include "eventcast.validate.external" .Values.externalNats -}}
{{- end -}}
{{- end }}

{{- define "eventcast.validate.operator" -}}
{{- if and (not .Values.leaderElection) (gt (int .Values.replicas) 1) -}}
{{- fail "leaderElection=false with more than one replica: two operators would overwrite each other's changes. Set replicas=1, or enable leaderElection." -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false: name the existing ServiceAccount in serviceAccount.name." -}}
{{- end -}}
{{- end }}

{{- define "eventcast.validate.bundled" -}}
{{- $external := .Values.externalNats -}}
{{- if $external.servers -}}
{{- fail "nats.enabled and externalNats.servers are both set: set nats.enabled=false to use the existing NATS, or remove externalNats.servers to use the bundled one." -}}
{{- end -}}
{{- if or $external.user $external.existingSecret -}}
{{- fail "externalNats has credentials but nats.enabled is true: set nats.enabled=false and externalNats.servers, or use nats.auth for the bundled NATS." -}}
{{- end -}}
{{- $auth := .Values.nats.auth -}}
{{- if and $auth.password $auth.existingSecret -}}
{{- fail "nats.auth.password and nats.auth.existingSecret are both set: keep one." -}}
{{- end -}}
{{- $merge := .Values.nats.config.merge -}}
{{- range $key := list "server_name" "listen" "http" "max_payload" "authorization" "tls" -}}
{{- if hasKey $merge $key -}}
{{- fail (printf "nats.config.merge.%s: the chart sets it: use the other values of nats." $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "store_dir" "max_file_store" "max_memory_store" "sync_interval" -}}
{{- if hasKey ($merge.jetstream | default dict) $key -}}
{{- fail (printf "nats.config.merge.jetstream.%s: the chart sets it: use the other values of nats." $key) -}}
{{- end -}}
{{- end -}}
{{- $limit := mulf 0.9 (include "eventcast.bytes" .Values.nats.storage.size | float64) -}}
{{- if gt (include "eventcast.bytes" .Values.nats.storage.maxFileStore | float64) $limit -}}
{{- fail (printf "nats.storage.maxFileStore=%s is more than 90 %% of nats.storage.size=%s: a full disk stops JetStream until NATS is restarted. Take about 80 %%." .Values.nats.storage.maxFileStore .Values.nats.storage.size) -}}
{{- end -}}
{{- end }}

{{- define "eventcast.validate.external" -}}
{{- if not .servers -}}
{{- fail "no NATS is configured: set nats.enabled=true to run the bundled NATS, or set an existing one: --set 'externalNats.servers={nats://nats.nats.svc:4222}'." -}}
{{- end -}}
{{- $named := without (values .keys) "" -}}
{{- if and .existingSecret (not $named) -}}
{{- fail (printf "externalNats.existingSecret=%s, but externalNats.keys has no key of it: for a credentials file, --set externalNats.keys.credentials=nats.creds." .existingSecret) -}}
{{- end -}}
{{- if and $named (not .existingSecret) -}}
{{- fail "externalNats.keys is set, but externalNats.existingSecret is not." -}}
{{- end -}}
{{- if gt (len (without (list .keys.password .keys.token .keys.credentials) "")) 1 -}}
{{- fail "externalNats.keys has more than one of password, token and credentials: set one." -}}
{{- end -}}
{{- if ne (empty .user) (empty .keys.password) -}}
{{- fail "externalNats.user and externalNats.keys.password belong together: set both or neither." -}}
{{- end -}}
{{- if ne (empty .keys.certificate) (empty .keys.key) -}}
{{- fail "externalNats.keys.certificate and externalNats.keys.key belong together: set both or neither." -}}
{{- end -}}
{{- if or .keys.ca .keys.certificate -}}
{{- range .servers -}}
{{- if not (hasPrefix "tls://" .) -}}
{{- fail (printf "externalNats.keys has TLS files, but %s does not use TLS: write tls:// instead of nats://." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Converts a quantity with Mi, Gi or Ti to bytes. */}}
{{- define "eventcast.bytes" -}}
{{- $unit := dict "Mi" 1 "Gi" 1024 "Ti" 1048576 -}}
{{- mul (regexFind "^[0-9]+" . | int64) (index $unit (regexFind "[MGT]i$" .)) 1048576 -}}
{{- end }}
