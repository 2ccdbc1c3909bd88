{{- define "lanyard.name" -}}
{{- if contains "lanyard" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-lanyard" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lanyard.selector" -}}
app.kubernetes.io/name: lanyard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "lanyard.labels" -}}
{{ include "lanyard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "lanyard.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "lanyard.name" .) }}
{{- end }}

{{/* Whether the configuration tells to publish into this cluster. */}}
{{- define "lanyard.asksKubernetes" -}}
{{- range .Values.config.publish -}}
{{- if and (not .kubeconfig) (or .config_map .cluster_trust_bundle) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{- define "lanyard.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "lanyard.host" -}}
{{ include "lanyard.name" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "lanyard.url" -}}
{{- $host := first .Values.gateway.hostnames | default (include "lanyard.host" .) -}}
https://{{ $host }}{{ if not .Values.gateway.hostnames }}:{{ .Values.service.port }}{{ end }}
{{- end }}

{{/* The bundle endpoint's port for those who know us by our SVID; none where `config` does not switch it on. */}}
{{- define "lanyard.spiffePort" -}}
{{- $at := dig "listen" "bundle_spiffe" "" .Values.config -}}
{{- if kindIs "slice" $at -}}{{- $at = first $at | default "" -}}{{- end -}}
{{- regexFind "[0-9]+$" $at -}}
{{- end }}

{{/* Whether several replicas keep their state together. */}}
{{- define "lanyard.shares" -}}
{{- if or .Values.etcd.endpoints (dig "store" "etcd" "" .Values.config) }}true{{ end -}}
{{- end }}

{{/* On which ports its etcd is asked. */}}
{{- define "lanyard.etcdPorts" -}}
{{- $ports := list -}}
{{- range .Values.etcd.endpoints -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default 2379 | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{/* Whether the ports show a certificate that is not the server's own making. */}}
{{- define "lanyard.givenCertificate" -}}
{{- if or .Values.tlsSecret (dig "tls" "cert_file" "" .Values.config) }}true{{ end -}}
{{- end }}

{{/* What the server's file would say without `config`. */}}
{{- define "lanyard.computed" -}}
trust_domain: {{ .Values.trustDomain | quote }}
data_dir: /var/lib/lanyard/data
policy_file: policy.toml
listen:
  issuer: 0.0.0.0:8443
  health: 0.0.0.0:8081
  {{- if .Values.bundle.enabled }}
  bundle: ["0.0.0.0:8444"]
  {{- end }}
{{- if .Values.tlsSecret }}
tls:
  cert_file: /etc/lanyard/tls/tls.crt
  key_file: /etc/lanyard/tls/tls.key
{{- else if not (include "lanyard.givenCertificate" .) }}
tls:
  names:
    {{- $name := include "lanyard.name" . }}
    {{- $own := list $name (printf "%s.%s" $name .Release.Namespace) (include "lanyard.host" .) "localhost" }}
    {{- range concat $own .Values.gateway.hostnames .Values.gateway.bundleHostnames (list .Values.bundle.ingress.host | compact) .Values.names | uniq }}
    - {{ . | quote }}
    {{- end }}
{{- end }}
issuer:
  - name: gitlab
    url: {{ .Values.gitlab.url | quote }}
    audience: {{ .Values.gitlab.audience | default (include "lanyard.url" .) | quote }}
    {{- if .Values.gitlab.caConfigMap }}
    ca_file: /etc/lanyard/gitlab/ca.crt
    {{- end }}
{{- if not (include "lanyard.shares" .) }}
audit:
  people: sealed
{{- end }}
{{- if .Values.sealingKeySecret }}
keys:
  sealing_key_file: /etc/lanyard/sealing/sealing.key
{{- end }}
{{- with .Values.etcd }}
{{- if .endpoints }}
store:
  etcd:
    endpoints:
      {{- toYaml .endpoints | nindent 6 }}
    {{- if .tlsSecret }}
    ca_file: /etc/lanyard/etcd/ca.crt
    certificate_file: /etc/lanyard/etcd/tls.crt
    key_file: /etc/lanyard/etcd/tls.key
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Helm reads every number as a fraction; the server takes whole ones. Changes what it is given. */}}
{{- define "lanyard.whole" -}}
{{- $of := . -}}
{{- range $name, $value := $of -}}
  {{- if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
    {{- $_ := set $of $name (int64 $value) -}}
  {{- else if kindIs "map" $value -}}
    {{- include "lanyard.whole" $value -}}
  {{- else if kindIs "slice" $value -}}
    {{- $whole := list -}}
    {{- range $value -}}
      {{- if kindIs "map" . -}}{{- include "lanyard.whole" . -}}{{- end -}}
      {{- $whole = append $whole (ternary (int64 (kindIs "float64" . | ternary . 0)) . (kindIs "float64" .)) -}}
    {{- end -}}
    {{- $_ := set $of $name $whole -}}
  {{- end -}}
{{- end -}}
{{- end }}

{{- define "lanyard.server.toml" -}}
{{- include "lanyard.judge" . -}}
{{- $config := mergeOverwrite (include "lanyard.computed" . | fromYaml) (deepCopy .Values.config) -}}
{{- include "lanyard.whole" $config -}}
{{- toToml $config -}}
{{- end }}

{{- define "lanyard.policy.toml" -}}
{{- .Values.policy | default (.Files.Get "files/policy.toml") -}}
{{- end }}

{{- define "lanyard.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "lanyard.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Not "Always": that opens each file of the volume to the group at every start, and the server refuses keys that are open.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* For the server, and for the Job that judges what it will be told. A replica is called after its pod. */}}
{{- define "lanyard.environment" -}}
{{- if include "lanyard.shares" . }}
- name: LANYARD_REPLICA
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The Secrets with files that the configuration names: where they lie, and what they are called here. */}}
{{- define "lanyard.secrets" -}}
{{- with .Values -}}
{{- range $place, $secret := dict "etcd" .etcd.tlsSecret "sealing" .sealingKeySecret "tls" .tlsSecret }}
{{- with $secret }}
{{ $place }}: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What `config` may name, at the same places in the server and in the Job that judges it. */}}
{{- define "lanyard.configMounts" -}}
- name: config
  mountPath: /etc/lanyard
  readOnly: true
{{- if .Values.gitlab.caConfigMap }}
- name: gitlab
  mountPath: /etc/lanyard/gitlab
  readOnly: true
{{- end }}
{{- range $place, $_ := include "lanyard.secrets" . | fromYaml }}
- name: {{ $place }}
  mountPath: /etc/lanyard/{{ $place }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lanyard.configVolumes" -}}
{{- if .Values.gitlab.caConfigMap }}
- name: gitlab
  configMap:
    name: {{ .Values.gitlab.caConfigMap }}
{{- end }}
{{- range $place, $secret := include "lanyard.secrets" . | fromYaml }}
- name: {{ $place }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
