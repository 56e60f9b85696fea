{{/* What the schema cannot say: values that contradict each other, with a word on what to do. Included once, by the Deployment. */}}

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
{{- fail "leaderElection=false with more than one replica: two operators would undo each other's work. Set replicas=1, or leave leaderElection on." -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create=false: name the existing ServiceAccount in serviceAccount.name." -}}
{{- end -}}
{{- end }}

{{- define "eventcast.validate.bundled" -}}
{{- $external := .Values.externalNats -}}
{{- if $external.servers -}}
{{- fail "nats.enabled and externalNats.servers are both set: set nats.enabled=false to use the existing NATS, or remove externalNats.servers to use the one of this chart." -}}
{{- end -}}
{{- if or $external.user $external.existingSecret -}}
{{- fail "externalNats has credentials but nats.enabled is true: set nats.enabled=false and externalNats.servers, or use nats.auth for the NATS of this chart." -}}
{{- end -}}
{{- $auth := .Values.nats.auth -}}
{{- if and $auth.password $auth.existingSecret -}}
{{- fail "nats.auth.password and nats.auth.existingSecret are both set: keep one." -}}
{{- end -}}
{{- $limit := mulf 0.9 (include "eventcast.bytes" .Values.nats.storage.size | float64) -}}
{{- if gt (include "eventcast.bytes" .Values.nats.storage.maxFileStore | float64) $limit -}}
{{- fail (printf "nats.storage.maxFileStore=%s is more than 90 %% of nats.storage.size=%s: a full disk stops JetStream until NATS is restarted. Take about 80 %%." .Values.nats.storage.maxFileStore .Values.nats.storage.size) -}}
{{- end -}}
{{- end }}

{{- define "eventcast.validate.external" -}}
{{- if not .servers -}}
{{- fail "there is no NATS: set nats.enabled=true to run the one of this chart, or name an existing one: --set 'externalNats.servers={nats://nats.nats.svc:4222}'." -}}
{{- end -}}
{{- $named := without (values .keys) "" -}}
{{- if and .existingSecret (not $named) -}}
{{- fail (printf "externalNats.existingSecret=%s, but no key of it is named in externalNats.keys: for a credentials file, --set externalNats.keys.credentials=nats.creds." .existingSecret) -}}
{{- end -}}
{{- if and $named (not .existingSecret) -}}
{{- fail "externalNats.keys names keys, but externalNats.existingSecret names no Secret to find them in." -}}
{{- end -}}
{{- if gt (len (without (list .keys.password .keys.token .keys.credentials) "")) 1 -}}
{{- fail "externalNats.keys names more than one of password, token and credentials: NATS takes one." -}}
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
{{- fail (printf "externalNats.keys has TLS files, but %s does not ask for TLS: write tls:// instead of nats://." .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Bytes of a quantity with Mi, Gi or Ti. */}}
{{- define "eventcast.bytes" -}}
{{- $unit := dict "Mi" 1 "Gi" 1024 "Ti" 1048576 -}}
{{- mul (regexFind "^[0-9]+" . | int64) (index $unit (regexFind "[MGT]i$" .)) 1048576 -}}
{{- end }}
