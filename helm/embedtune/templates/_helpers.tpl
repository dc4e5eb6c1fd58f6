{{/* The name of everything the chart makes: the release's, with the chart's unless it has it. */}}
{{- define "embedtune.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What selects the operator's pod; these never change. */}}
{{- define "embedtune.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "embedtune.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "embedtune.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "embedtune.serviceAccountName" -}}
{{- if .Values.operator.serviceAccount.create }}
{{- .Values.operator.serviceAccount.name | default (include "embedtune.fullname" .) }}
{{- else }}
{{- .Values.operator.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* An image by digest or tag, from (list root image). */}}
{{- define "embedtune.image" -}}
{{- $root := index . 0 }}
{{- with index . 1 }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Exactly what the operator calls the API server for. */}}
{{- define "embedtune.operatorRules" -}}
# patch: the finalizer of jobs with output.retain false; delete: those with runPolicy.ttlPolicy job
- apiGroups: [embedtune.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [embedtune.dev]
  resources: [finetunejobs/status]
  verbs: [patch]
- apiGroups: [embedtune.dev]
  resources: [finetuneruntimes{{ if not .Values.operator.namespaces }}, clusterfinetuneruntimes{{ end }}]
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# of jobs with several nodes, which find each other by it
- apiGroups: [""]
  resources: [services]
  verbs: [create]
# of jobs in Kueue's queues: one that is suspended by its user must not be let in
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}
