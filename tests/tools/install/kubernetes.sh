# shellcheck shell=bash disable=SC2154 # root and tools are those of install.sh
# An API server with its store for the suites of the operator, kubectl, helm, the command line of NATS, promtool, an OpenID provider, an OpenTelemetry Collector, what enforces NetworkPolicies, what pushes and
# signs a release, and what a node of Kubernetes needs: built from the Go module proxy, or from Debian. Sourced by install.sh.

modules=$root/tests/tools/go # `go install` takes no module with `replace`s: those are built from modules of our own

kubernetes=$(awk 'NF > 1 && $(NF - 1) == "k8s.io/kubernetes" { print $NF }' "$modules/kubernetes/go.mod")
helm=v3.22.0
helm4=v4.3.1
coredns=v1.12.4
oidc=v3.52.0
cosign=v3.1.3
IFS=. read -r _ kubernetes_minor _ <<<"$kubernetes"

# Without these an API server takes itself for v0.0.0, and helm takes every cluster for 1.20.
kubernetes_stamp="-X k8s.io/component-base/version.gitVersion=$kubernetes
  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$kubernetes_minor"
helm_stamp="-X helm.sh/helm/v3/internal/version.version=$helm
  -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$kubernetes_minor
  -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$kubernetes_minor"

# Sets `package`, `flags`, `module` (a folder of $modules; empty for `go install`) and `minutes` of a build with empty caches.
recipe_of() {
  module='' flags='-s -w' minutes=1
  case $1 in
    etcd) module=etcd package=go.etcd.io/etcd/server/v3 ;;
    kube-apiserver) module=kubernetes package=k8s.io/kubernetes/cmd/$1 flags+=" $kubernetes_stamp" minutes=3 ;;
    kube*) module=kubernetes package=k8s.io/kubernetes/cmd/$1 flags+=" $kubernetes_stamp" ;;
    helm4) package=helm.sh/helm/v4/cmd/helm@$helm4 flags+=" -X helm.sh/helm/v4/internal/version.version=$helm4" ;;
    helm) package=helm.sh/helm/v3/cmd/helm@$helm flags+=" $helm_stamp" ;;
    oidc-server) package=github.com/zitadel/oidc/v3/example/server@$oidc ;; # a real OpenID provider, for tests of tokens
    otelcol) module=otelcol package=eventcast.dev/otelcol minutes=2 ;;
    network-policies) module=network-policies package=eventcast.dev/network-policies minutes=3 ;; # enforces them in the test cluster
    nats) package=github.com/nats-io/natscli/nats@v0.5.0 minutes=2 ;;
    coredns) package=github.com/coredns/coredns@$coredns minutes=2 ;;
    crane) package=github.com/google/go-containerregistry/cmd/crane@v0.22.1 ;; # pushes images; has a registry for rehearsals
    cosign) package=github.com/sigstore/cosign/v3/cmd/cosign@$cosign minutes=4 flags+=" -X sigs.k8s.io/release-utils/version.gitVersion=$cosign" ;;
    krew | validate-krew-manifest) package=sigs.k8s.io/krew/cmd/$1@v0.4.3 ;;
  esac
}

# What a build depends on: a program of ours is old when this has changed.
recipe_text() {
  echo "$package $flags"
  if [[ -n $module ]]; then cat "$modules/$module/go.mod" "$modules/$module/go.sum"; fi
  if [[ -e $modules/$module/main.go ]]; then cat "$modules/$module/main.go"; fi
}

is_built() {
  local found package flags module minutes
  found=$(find_program "$1") || return 1
  recipe_of "$1"
  [[ $found != "$tools/bin/$1" ]] || is_stamped "$tools/bin/.$1.stamp" <(recipe_text)
}

are_built() {
  local program
  for program in "$@"; do is_built "$program" || return 1; done
}

build() {
  local program package flags module minutes started folder
  temporary folder
  for program in "$@"; do
    if is_built "$program"; then continue; fi
    has go || fail "go is missing: install Go 1.24 or newer to build $program, or put $program on the PATH"
    recipe_of "$program"
    started=$SECONDS
    say "building $program from $package (about $minutes min the first time)"
    if [[ -n $module ]]; then
      # static, so that it runs in an image without a libc too
      quietly env -C "$modules/$module" CGO_ENABLED=0 GOFLAGS=-mod=readonly \
        go build -trimpath -buildvcs=false -ldflags "$flags" -o "$folder/$program" "$package"
    else
      quietly env CGO_ENABLED=0 GOBIN="$folder" go install -trimpath -ldflags "$flags" "$package"
      # named after the last part of its package
      [[ -e $folder/$program ]] || mv "$folder/$(basename "${package%@*}")" "$folder/$program"
    fi
    mv "$folder/$program" "$tools/bin/$program"
    stamp "$tools/bin/.$program.stamp" <(recipe_text)
    say "$program is built, after $((SECONDS - started)) s"
  done
}

have_apiserver() { are_built etcd kube-apiserver; }
install_apiserver() { build etcd kube-apiserver; }

have_kubectl() { are_built kubectl; }
install_kubectl() { build kubectl; }

have_oidc_server() { are_built oidc-server; }
install_oidc_server() { build oidc-server; }

have_otelcol() { are_built otelcol; }
install_otelcol() { build otelcol; }

have_network_policies() { are_built network-policies; }
install_network_policies() { build network-policies; }

have_nats() { are_built nats; }
install_nats() { build nats; }

have_helm() { are_built helm; }
install_helm() { build helm; }

have_helm4() { are_built helm4; }
install_helm4() { build helm4; }

have_crane() { are_built crane; }
install_crane() { build crane; }

have_cosign() { are_built cosign; }
install_cosign() { build cosign; }

have_krew() { are_built krew validate-krew-manifest; }
install_krew() { build krew validate-krew-manifest; }

have_promtool() { find_program promtool >/dev/null; }
install_promtool() { from_package prometheus usr/bin/promtool; }
have_prometheus() { find_program prometheus >/dev/null; }
install_prometheus() { from_package prometheus usr/bin/prometheus; }

# What a node needs beside the API server

node_programs=(kube-controller-manager kube-scheduler kubelet kube-proxy coredns)

missing_node_packages() {
  local PATH=$PATH:/usr/sbin:/sbin
  has containerd || echo containerd
  has runc || echo runc
  [[ -x /usr/lib/cni/bridge ]] || echo containernetworking-plugins
  has iptables || echo iptables
  has conntrack || echo conntrack
  has ip || echo iproute2
  has openssl || echo openssl
}

have_cluster() { have_apiserver && have_kubectl && are_built "${node_programs[@]}" && [[ -z $(missing_node_packages) ]]; }

install_cluster() {
  local packages
  build etcd kube-apiserver kubectl "${node_programs[@]}"
  mapfile -t packages < <(missing_node_packages)
  if ((${#packages[@]})); then apt_install "${packages[@]}"; fi
}
