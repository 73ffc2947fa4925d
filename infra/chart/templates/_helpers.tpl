{{- define "waybill.labels" -}}
app.kubernetes.io/name: waybill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "waybill.allLabels" -}}
{{ include "waybill.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "waybill.name" -}}
{{ printf "%s-%s" .root.Release.Name .part | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "waybill.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "waybill.natsUrl" -}}
{{- if .Values.nats.enabled -}}
{{- $name := include "waybill.name" (dict "root" . "part" "nats") -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "nats://%s-%d.%s:4222" $name $i $name) -}}
{{- end -}}
{{ join "," $urls }}
{{- else -}}
{{ .Values.nats.url }}
{{- end -}}
{{- end }}

{{/* What every pod of ours may do: nothing. */}}
{{- define "waybill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "waybill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: ["ALL"] }
{{- end }}

{{- define "waybill.env" -}}
- { name: WAYBILL_NATS_URL, value: {{ include "waybill.natsUrl" .root | quote }} }
- { name: WAYBILL_LOG, value: {{ .root.Values.logLevel | quote }} }
- { name: WAYBILL_LOG_FORMAT, value: json }
{{- with .root.Values.otlpEndpoint }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- end }}

{{- define "waybill.probes" -}}
livenessProbe:
  httpGet: { path: /healthz, port: {{ . }} }
  periodSeconds: 10
readinessProbe:
  httpGet: { path: /readyz, port: {{ . }} }
  periodSeconds: 5
{{- end }}
