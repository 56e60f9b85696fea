//go:build tools

// Package tools names what install.sh builds, so that go.mod and go.sum know it.
package tools

import _ "go.etcd.io/etcd/server/v3/etcdmain"
