# etcd, the API server, the controllers and the scheduler, on the node's address. Sourced by up.sh.
# shellcheck shell=bash disable=SC2154 # variables of lib.sh

api=https://$node_host:6443
etcd=http://$node_host:2379

# One token for everything that administers, one key pair that signs the tokens of service accounts, one certificate
# that is the API server's, its own authority, and its proof to the kubelet. It says that it is no authority: rustls takes none
# for a server's.
write_identities() {
  local token curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  token=$(openssl rand -hex 16)
  (
    umask 077
    echo "$token,admin,admin,system:masters" >"$cluster/pki/tokens.csv"
    openssl ecparam -name prime256v1 -genkey -noout -out "$cluster/pki/accounts.key"
    openssl req -x509 "${curve[@]}" -keyout "$cluster/pki/api.key" -out "$cluster/pki/api.crt" -days 30 \
      -subj /O=system:masters/CN=kube-apiserver -addext basicConstraints=critical,CA:FALSE \
      -addext "subjectAltName=IP:$node_address,IP:${api_service_addresses[$main_family]},DNS:kubernetes.default.svc" 2>/dev/null
    cat >"$kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: eventcast, cluster: {server: "$api", certificate-authority: "$cluster/pki/api.crt"}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: eventcast, context: {cluster: eventcast, user: admin}}]
current-context: eventcast
END
  )
}

start_etcd() {
  # what is in it need not outlive the machine
  start etcd "$(tool etcd)" --data-dir "$cluster/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "http://$node_host:2380" --initial-advertise-peer-urls "http://$node_host:2380" \
    --initial-cluster "default=http://$node_host:2380"
}

start_api() {
  start api "$(tool kube-apiserver)" --etcd-servers "$etcd" --bind-address "$node_address" \
    --advertise-address "$node_address" --service-cluster-ip-range "$(of_families service_networks)" --allow-privileged \
    --tls-cert-file "$cluster/pki/api.crt" --tls-private-key-file "$cluster/pki/api.key" --cert-dir "$cluster/pki" \
    --token-auth-file "$cluster/pki/tokens.csv" --authorization-mode Node,RBAC \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$cluster/pki/accounts.key" \
    --service-account-signing-key-file "$cluster/pki/accounts.key" \
    --kubelet-client-certificate "$cluster/pki/api.crt" --kubelet-client-key "$cluster/pki/api.key" \
    --kubelet-preferred-address-types InternalIP
  wait_for "the API server answers" 60 api kubectl get --raw /readyz
}

start_controllers() {
  local as_admin=(--kubeconfig "$kubeconfig" --authentication-kubeconfig "$kubeconfig"
    --authorization-kubeconfig "$kubeconfig" --bind-address "$node_address" --leader-elect=false)
  start controllers "$(tool kube-controller-manager)" "${as_admin[@]}" --use-service-account-credentials \
    --service-account-private-key-file "$cluster/pki/accounts.key" --root-ca-file "$cluster/pki/api.crt" \
    --flex-volume-plugin-dir "$cluster/kubelet/plugins" --horizontal-pod-autoscaler-sync-period 5s
  start scheduler "$(tool kube-scheduler)" "${as_admin[@]}"
}
