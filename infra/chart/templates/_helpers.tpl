{{/* These take a dictionary of `root`, which is the chart's context, and `part`, the service. */}}

{{- define "waybill.name" -}}
{{ printf "%s-%s" (.root.Release.Name | trunc 40 | trimSuffix "-") .part }}
{{- end }}

{{- define "waybill.labels" -}}
app.kubernetes.io/name: waybill
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "waybill.meta" -}}
name: {{ include "waybill.name" . }}
labels:
  {{- include "waybill.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Names with the namespace are the same from everywhere in the cluster, and are those in the certificates. */}}
{{- define "waybill.natsUrl" -}}
{{- if .root.Values.nats.enabled -}}
{{- $name := include "waybill.name" (dict "root" .root "part" "nats") -}}
{{- $urls := list -}}
{{- range $n := until (int .root.Values.nats.replicas) -}}
{{- $urls = append $urls (printf "tls://%s-%d.%s.%s:4222" $name $n $name $.root.Release.Namespace) -}}
{{- end -}}
{{ join "," $urls }}
{{- else -}}
{{ .root.Values.nats.url }}
{{- end -}}
{{- end }}

{{- define "waybill.gatewayUrl" -}}
{{- $name := include "waybill.name" (dict "root" .root "part" "gateway") -}}
{{ ternary "https" "http" (ne .root.Values.gateway.tlsSecret "") }}://{{ $name }}.{{ .root.Release.Namespace }}:{{ .root.Values.gateway.service.port }}
{{- end }}

{{- define "waybill.pod" -}}
automountServiceAccountToken: false
# The cluster would set variables that begin as our settings do.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "waybill.nonRoot" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "waybill.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "waybill.image" -}}
image: {{ printf "%s:%s" .root.Values.image.repository (.root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{- define "waybill.env" -}}
- { name: WAYBILL_NATS_URL, value: {{ include "waybill.natsUrl" . | quote }} }
{{- if .root.Values.ca }}
- { name: WAYBILL_NATS_CA_FILE, value: /etc/waybill/ca/ca.pem }
{{- end }}
{{- range $name, $value := merge (dict) (index .root.Values .part "env") .root.Values.env (dict "WAYBILL_LOG_FORMAT" "json") }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}

{{- define "waybill.mounts" -}}
{{- if .root.Values.ca -}}
- { name: ca, mountPath: /etc/waybill/ca, readOnly: true }
{{- end }}
{{- end }}

{{- define "waybill.volumes" -}}
{{- if .root.Values.ca -}}
- { name: ca, configMap: { name: {{ .root.Values.ca }} } }
{{- end }}
{{- end }}

{{- define "waybill.claim" -}}
- metadata: { name: data }
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: { requests: { storage: {{ .storage }} } }
{{- end }}

{{/* `port` is the name of the container's port. A service that starts may wait for another one, or fold the whole log. */}}
{{- define "waybill.probes" -}}
{{- $scheme := .scheme | default "HTTP" -}}
startupProbe:
  httpGet: { path: /healthz, port: {{ .port }}, scheme: {{ $scheme }} }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: {{ .port }}, scheme: {{ $scheme }} }
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: { path: /readyz, port: {{ .port }}, scheme: {{ $scheme }} }
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{- define "waybill.healthService" -}}
apiVersion: v1
kind: Service
metadata: {{- include "waybill.meta" . | nindent 2 }}
spec:
  clusterIP: None
  selector: {{- include "waybill.labels" . | nindent 4 }}
  ports:
    - { name: health, port: {{ .port }}, targetPort: health }
{{- end }}

{{- define "waybill.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{- include "waybill.meta" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "waybill.labels" . | nindent 6 }}
{{- end }}
