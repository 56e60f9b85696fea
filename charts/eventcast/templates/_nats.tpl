{{/* How NATS is reached: the node of this chart, or an existing one. */}}

{{- define "eventcast.nats.name" -}}
{{- printf "%s-nats" (include "eventcast.fullname" .) -}}
{{- end }}

{{- define "eventcast.nats.servers" -}}
{{- if .Values.nats.enabled -}}
{{- printf "nats://%s.%s.svc.%s:4222" (include "eventcast.nats.name" .) .Release.Namespace .Values.cluster.domain -}}
{{- else -}}
{{- join "," .Values.externalNats.servers -}}
{{- end -}}
{{- end }}

{{/* The Secret with the credentials; empty where there are none. */}}
{{- define "eventcast.nats.secret" -}}
{{- if not .Values.nats.enabled -}}
{{- .Values.externalNats.existingSecret -}}
{{- else if .Values.nats.auth.existingSecret -}}
{{- .Values.nats.auth.existingSecret -}}
{{- else if .Values.nats.auth.password -}}
{{- printf "%s-auth" (include "eventcast.nats.name" .) -}}
{{- end -}}
{{- end }}

{{/* What is used of that Secret, as {password|token|credentials|ca|certificate|key: <key in the Secret>}. */}}
{{- define "eventcast.nats.keys" -}}
{{- $keys := dict -}}
{{- if include "eventcast.nats.secret" . -}}
{{- $named := .Values.externalNats.keys -}}
{{- if .Values.nats.enabled -}}
{{- $auth := .Values.nats.auth -}}
{{- $named = dict "password" (ternary $auth.existingSecretKey "password" (ne $auth.existingSecret "")) -}}
{{- end -}}
{{- range $kind, $key := $named -}}
{{- if $key }}{{ $_ := set $keys $kind $key }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $keys -}}
{{- end }}

{{/* The user that belongs to a password. */}}
{{- define "eventcast.nats.user" -}}
{{- if hasKey (include "eventcast.nats.keys" . | fromYaml) "password" -}}
{{- ternary .Values.nats.auth.user .Values.externalNats.user .Values.nats.enabled -}}
{{- end -}}
{{- end }}

{{/* The configuration of the node of this chart. */}}
{{- define "eventcast.nats.config" -}}
server_name: {{ include "eventcast.nats.name" . }}
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
# the largest publishing.maxEventBytes that a channel may have, 8 MiB, and its headers
max_payload: {{ .Values.nats.maxPayload }}
jetstream {
  store_dir: /data
  max_file_store: {{ .Values.nats.storage.maxFileStore }}
  max_memory_store: {{ .Values.nats.maxMemoryStore }}
  # when what was acknowledged is on disk
  sync_interval: {{ .Values.nats.syncInterval }}
}
{{- if include "eventcast.nats.secret" . }}
authorization {
  user: {{ quote .Values.nats.auth.user }}
  # from the environment, which has it in quotes
  password: $NATS_PASSWORD_QUOTED
}
{{- end }}
{{- end }}
