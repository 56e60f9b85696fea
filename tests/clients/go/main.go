// Adapters for the SSE clients of Go: `sse-clients CLIENT URL [LAST_EVENT_ID]`. See ../README.md.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

var clients = map[string]func(url, lastEventID string){
	"donovanhide":  donovanhide,
	"launchdarkly": launchdarkly,
	"r3labs":       r3labs,
	"tmaxmax":      tmaxmax,
}

func main() {
	if len(os.Args) < 3 || clients[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: sse-clients donovanhide|launchdarkly|r3labs|tmaxmax URL [LAST_EVENT_ID]")
		os.Exit(2)
	}
	lastEventID := ""
	if len(os.Args) > 3 {
		lastEventID = os.Args[3]
	}
	go endWithParent(os.Getppid())
	clients[os.Args[1]](os.Args[2], lastEventID)
	emit(map[string]any{"closed": true})
}

// An adapter must not outlive the test that started it.
func endWithParent(parent int) {
	for os.Getppid() == parent {
		time.Sleep(time.Second)
	}
	os.Exit(1)
}

func emit(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(text, '\n'))
}

func emitOpen() { emit(map[string]any{"open": true}) }

func emitError(err error) { emit(map[string]any{"error": err.Error()}) }

func emitEvent(id, kind, data string) {
	if kind == "" {
		kind = "message"
	}
	emit(struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Data string `json:"data"`
	}{id, kind, data})
}

// An answer after which an EventSource would not come back.
func isFinal(status int) bool {
	return status == http.StatusNoContent || status >= 400 && status < 500
}
