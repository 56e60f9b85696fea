// A dashboard: the server measures itself and publishes what it finds; pages show the newest value of each metric.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

const pace = 500 * time.Millisecond

var (
	eventsURL = variable("EVENTS_URL", "http://127.0.0.1:8080/channels/default/demo/events")
	deploys   atomic.Int64
	requests  atomic.Int64
)

func variable(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// measure publishes the metrics that change all the time. A value that could not be stored is of no use later: the next one
// follows soon.
func measure() {
	for range time.Tick(pace) {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		for metric, value := range map[string]float64{
			"heap":       float64(memory.HeapAlloc) / (1 << 20),
			"goroutines": float64(runtime.NumGoroutine()),
			"requests":   float64(requests.Load()),
		} {
			if err := publish(metric, value); err != nil {
				log.Print(err)
			}
		}
	}
}

// deploy counts a deploy. Its value is published once, and has to be there for whoever comes hours later.
func deploy(response http.ResponseWriter, request *http.Request) {
	// A form of another site cannot have this type without asking first, and nobody answers it.
	if request.Header.Get("Content-Type") != "application/json" {
		http.Error(response, "application/json, please", http.StatusUnsupportedMediaType)
		return
	}
	if err := publish("deploys", float64(deploys.Add(1))); err != nil {
		http.Error(response, err.Error(), http.StatusServiceUnavailable)
	}
}

func main() {
	broker, err := url.Parse(eventsURL)
	if err != nil {
		log.Fatal(err)
	}
	policy := "default-src 'self'; connect-src 'self' " + broker.Scheme + "://" + broker.Host + "; frame-ancestors 'none'"
	files := func(handler http.Handler) http.HandlerFunc {
		return func(response http.ResponseWriter, request *http.Request) {
			requests.Add(1)
			response.Header().Set("Content-Security-Policy", policy)
			handler.ServeHTTP(response, request)
		}
	}
	file := func(name string) http.HandlerFunc {
		return files(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
			http.ServeFile(response, request, name)
		}))
	}
	http.HandleFunc("GET /{$}", file("index.html"))
	http.HandleFunc("GET /dashboard.js", file("dashboard.js"))
	http.HandleFunc("GET /style.css", file("../style.css"))
	// `npm install @eventcast/client`, or a copy
	http.HandleFunc("GET /client/", files(http.StripPrefix("/client/", http.FileServer(http.Dir("../../../broker/clients/js")))))
	http.HandleFunc("GET /config.json", func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(response).Encode(map[string]string{"events": eventsURL})
	})
	http.HandleFunc("POST /deploys", deploy)
	go measure()
	server := http.Server{Addr: "127.0.0.1:" + variable("PORT", "8081"), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}
