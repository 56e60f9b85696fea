{{/* Name of the ClusterRole and ClusterRoleBinding that let brokers verify tokens; empty if they may not. */}}
{{- define "eventcast.tokenReviewer" -}}
{{- if and .Values.rbac.create .Values.rbac.kubernetesIdentities }}{{ include "eventcast.fullname" . }}-token-reviewer{{ end }}
{{- end }}

{{/* The permissions of the operator in the namespaces that it watches. */}}
{{- define "eventcast.rbac.rules" -}}
# channels and pools: the operator writes the finalizers of channels, and the status, never the spec
- apiGroups: [eventcast.dev]
  resources: [eventchannels]
  verbs: [list, watch, patch]
- apiGroups: [eventcast.dev]
  resources: [brokerpools]
  verbs: [list, watch]
- apiGroups: [eventcast.dev]
  resources: [eventchannels/status, brokerpools/status]
  verbs: [patch]
# required by the admission plugin OwnerReferencesPermissionEnforcement for blockOwnerDeletion
- apiGroups: [eventcast.dev]
  resources: [eventchannels/finalizers, brokerpools/finalizers]
  verbs: [update]
# the Service of every channel and pool: server-side apply needs create and patch; the garbage collector deletes it
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
# objects that the operator deletes when a channel or pool no longer needs them: a channel that moves into a pool loses its own brokers
{{- range $group, $resources := dict
  "" "configmaps, serviceaccounts"
  "apps" "deployments"
  "autoscaling" "horizontalpodautoscalers"
  "gateway.networking.k8s.io" "httproutes"
  "monitoring.coreos.com" "podmonitors"
  "networking.k8s.io" "ingresses, networkpolicies"
  "policy" "poddisruptionbudgets" }}
- apiGroups: [{{ quote $group }}]
  resources: [{{ $resources }}]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rbac.kubernetesIdentities }}
# lets brokers ask what a service account may do on their channel; Kubernetes lets nobody give a right that he does not have
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [authorization.k8s.io]
  resources: [localsubjectaccessreviews]
  verbs: [create]
{{- end }}
{{- if include "eventcast.nats.hasFiles" . }}
# copies of the NATS credentials; the operator never lists Secrets
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
{{- end }}
# state of the broker pods; with the autopilot also annotations: which brokers are removed first, and how many streams one keeps; Events
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch{{ if .Values.autopilot.enabled }}, patch{{ end }}]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
