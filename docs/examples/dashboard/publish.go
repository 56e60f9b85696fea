package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

var client = http.Client{Timeout: 10 * time.Second}

// publish stores a value in the topic of its metric.
func publish(metric string, value float64) error {
	body, err := json.Marshal(map[string]any{"value": value, "at": time.Now()})
	if err != nil {
		return err
	}
	query := url.Values{"topic": {"metric." + metric}, "type": {"metric"}, "source": {"/dashboard"}}
	answer, err := client.Post(eventsURL+"?"+query.Encode(), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s of %s: %s", metric, eventsURL, answer.Status)
	}
	return nil
}
