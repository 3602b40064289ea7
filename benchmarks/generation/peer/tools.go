//go:build tools

package peer

import _ "github.com/cludden/protoc-gen-go-temporal/cmd/protoc-gen-go_temporal"
