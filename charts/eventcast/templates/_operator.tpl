{{/* Environment of eventcast-operator, for the Deployment and the pod of `helm test`. */}}

{{- define "eventcast.operator.env" -}}
{{- $v := .Values -}}
{{- $env := dict
  "WATCH_NAMESPACES" (join "," $v.watchNamespaces)
  "BROKER_IMAGE" (include "eventcast.image" (dict "root" . "image" $v.brokers.image))
  "BROKER_IMAGE_PULL_POLICY" $v.brokers.image.pullPolicy
  "BROKER_IMAGE_PULL_SECRETS" (join "," $v.brokers.imagePullSecrets)
  "NATS_SERVERS" (include "eventcast.nats.servers" .)
  "NATS_USER" (include "eventcast.nats.user" .)
  "NATS_ACK_MILLISECONDS" (ternary "2000" "750" $v.nats.enabled)
  "NATS_DOMAIN" (ternary "" $v.externalNats.domain $v.nats.enabled)
  "NATS_INBOX_PREFIX" (ternary "" $v.externalNats.inboxPrefix $v.nats.enabled)
  "NATS_TLS_FIRST" (ternary "true" "" (and (not $v.nats.enabled) $v.externalNats.tlsFirst))
  "CHANNEL_SELECTOR" $v.channelSelector
  "CLUSTER" $v.cluster.name
  "CLUSTER_DOMAIN" $v.cluster.domain
  "TRUSTED_PROXIES" (join "," $v.brokers.trustedProxies)
  "NETWORK_POLICIES" $v.brokers.networkPolicies
  "POD_MONITORS" $v.brokers.podMonitors
  "BROKER_DEFAULTS" "/etc/eventcast/brokers/defaults.yaml"
  "AUTOPILOT" $v.autopilot.enabled
  "LOOK_SECONDS" $v.autopilot.lookSeconds
  "MAX_ROLLOUTS" $v.rollouts.max
  "ROLLOUT_SOAK_SECONDS" $v.rollouts.soakSeconds
  "TOKEN_REVIEW_BINDING" (include "eventcast.tokenReviewer" .)
  "ADMIN" "[::]:9090"
  "LEADER_ELECTION" $v.leaderElection
  "CONCURRENCY" $v.concurrency
  "RESYNC_SECONDS" $v.resyncSeconds
  "LOG_LEVEL_FILE" "/etc/eventcast/log/level"
  "LOG_FORMAT" $v.log.format -}}
{{- range $kind, $key := include "eventcast.nats.keys" . | fromYaml -}}
{{- $_ := set $env (printf "NATS_%s_FILE" (upper $kind)) (printf "/etc/eventcast/nats/%s" $key) -}}
{{- end }}
{{- range $name, $value := $env }}
{{- with $value | toString }}
- name: EVENTCAST_{{ $name }}
  value: {{ quote . }}
{{- end }}
{{- end }}
{{- with $v.telemetry.otlp.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ quote . }}
{{- end }}
- name: POD_NAME
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volume mounts: the log level, settings of all brokers, and the NATS credentials if there are any. */}}
{{- define "eventcast.operator.mounts" -}}
volumeMounts:
  - name: log
    mountPath: /etc/eventcast/log
    readOnly: true
  - name: brokers
    mountPath: /etc/eventcast/brokers
    readOnly: true
{{- if include "eventcast.nats.hasFiles" . }}
  - name: nats
    mountPath: /etc/eventcast/nats
    readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "eventcast.operator.volumes" -}}
volumes:
  - name: log
    configMap:
      name: {{ include "eventcast.fullname" . }}-log
      optional: true
  - name: brokers
    configMap:
      name: {{ include "eventcast.fullname" . }}-broker-defaults
{{- $keys := include "eventcast.nats.keys" . | fromYaml }}
{{- if include "eventcast.nats.tlsSecret" . }}
  - name: nats
    projected:
      sources:
        - secret:
            name: {{ include "eventcast.nats.tlsSecret" . | quote }}
            items: [{key: ca.crt, path: ca.crt}]
        {{- with include "eventcast.nats.secret" . }}
        - secret:
            name: {{ quote . }}
            items: [{key: {{ quote $keys.password }}, path: {{ quote $keys.password }}}]
        {{- end }}
{{- else }}
{{- with include "eventcast.nats.secret" . }}
  - name: nats
    secret:
      secretName: {{ quote . }}
      items:
        {{- range $keys | values | uniq | sortAlpha }}
        - {key: {{ quote . }}, path: {{ quote . }}}
        {{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
