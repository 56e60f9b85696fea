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
  "CLUSTER" $v.cluster.name
  "CLUSTER_DOMAIN" $v.cluster.domain
  "TRUSTED_PROXIES" (join "," $v.brokers.trustedProxies)
  "NETWORK_POLICIES" $v.brokers.networkPolicies
  "POD_MONITORS" $v.brokers.podMonitors
  "TOKEN_REVIEW_BINDING" (include "eventcast.tokenReviewer" .)
  "ADMIN" "[::]:9090"
  "LEADER_ELECTION" $v.leaderElection
  "CONCURRENCY" $v.concurrency
  "RESYNC_SECONDS" $v.resyncSeconds
  "LOG" $v.log.level
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

{{/* Volume mounts of the NATS credentials; nothing without credentials. */}}
{{- define "eventcast.operator.mounts" -}}
{{- if include "eventcast.nats.secret" . }}
volumeMounts:
  - name: nats
    mountPath: /etc/eventcast/nats
    readOnly: true
{{- end }}
{{- end }}

{{- define "eventcast.operator.volumes" -}}
{{- with include "eventcast.nats.secret" . }}
volumes:
  - name: nats
    secret:
      secretName: {{ . }}
      # 0440; YAML 1.1 and 1.2 parse octal numbers differently
      defaultMode: 288
      items:
        {{- range include "eventcast.nats.keys" $ | fromYaml | values | uniq | sortAlpha }}
        - {key: {{ quote . }}, path: {{ quote . }}}
        {{- end }}
{{- end }}
{{- end }}
