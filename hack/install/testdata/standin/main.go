// Command standin is what the tests of install run in place of outrigger: it listens where the chart says and says
// what it was given. With the word "fail" in FAIL it ends with code 7. What the chart's hooks run does nothing.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(0)
	if os.Getenv("FAIL") != "" {
		log.Print("this cannot work")
		os.Exit(7)
	}
	for _, argument := range os.Args[1:] {
		if path, ok := strings.CutPrefix(argument, "--config="); ok {
			text, err := os.ReadFile(path)
			log.Printf("configuration: %s %v", text, err)
			continue
		}
		log.Printf("argument: %s", strings.ReplaceAll(argument, os.Getenv("POD_IP"), "POD_IP"))
	}
	if len(os.Args) > 1 && os.Args[1] != "serve" {
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, os.Getenv("POD_NAME")) })
	for _, port := range []string{"8080", "8081", "10250"} {
		go func() { log.Fatal(http.ListenAndServe(os.Getenv("POD_IP")+":"+port, nil)) }()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	log.Printf("heard %v", <-signals)
}
