{{- define "pykv.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pykv.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pykv.labels" -}}
{{ include "pykv.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pykv.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* What nobody should leave undecided. */}}
{{- define "pykv.check" -}}
{{- if not (or .Values.auth.tokensSecret .Values.tls.clientCertificates .Values.insecure.allowAnonymous) -}}
{{- fail "nobody would have to prove who they are: set auth.tokensSecret, tls.clientCertificates, or insecure.allowAnonymous=true if something else sees to that" -}}
{{- end -}}
{{- if not (or .Values.tls.secretName .Values.insecure.allowPlaintext) -}}
{{- fail "everybody on the way could read what is said: set tls.secretName, or insecure.allowPlaintext=true if a mesh encrypts" -}}
{{- end -}}
{{- if and .Values.tls.clientCertificates (not .Values.tls.secretName) -}}
{{- fail "tls.clientCertificates needs tls.secretName, whose ca.crt vouches for callers" -}}
{{- end -}}
{{- end -}}

{{- define "pykv.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
