{{/* Everything the operator may do in the namespaces it watches, and nothing else. */}}
{{- define "eventcast.rbac.rules" -}}
# the channels: their specification is never written, only finalizers and status
- apiGroups: [eventcast.dev]
  resources: [eventchannels]
  verbs: [list, watch, patch]
- apiGroups: [eventcast.dev]
  resources: [eventchannels/status]
  verbs: [patch]
# asked for by an admission plugin of some clusters, where an owner reference blocks its owner's deletion
- apiGroups: [eventcast.dev]
  resources: [eventchannels/finalizers]
  verbs: [update]
# what every channel has; server-side apply wants create and patch, and it goes with its channel
{{- range $group, $resources := dict "" "configmaps, services, serviceaccounts" "apps" "deployments" }}
- apiGroups: [{{ quote $group }}]
  resources: [{{ $resources }}]
  verbs: [get, list, watch, create, patch]
{{- end }}
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# what a channel may cease to want
{{- range $group, $resources := dict
  "autoscaling" "horizontalpodautoscalers"
  "gateway.networking.k8s.io" "httproutes"
  "monitoring.coreos.com" "podmonitors"
  "networking.k8s.io" "ingresses, networkpolicies"
  "policy" "poddisruptionbudgets" }}
- apiGroups: [{{ $group }}]
  resources: [{{ $resources }}]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if include "eventcast.nats.secret" . }}
# copies of the credentials of NATS; Secrets are never listed
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
{{- end }}
# how the brokers do, and what is told about it
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
