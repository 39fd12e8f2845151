// Command app is what the tests of localnode run: a server and a few other behaviours, chosen by flags.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	listen := flag.String("listen", "", "address to serve at: / answers with the pod's name, /healthz is what -sick-after says")
	linger := flag.Duration("linger", 0, "how long to go on serving after SIGTERM")
	sick := flag.Duration("sick-after", 0, "after this time /healthz answers 500")
	deaf := flag.Bool("deaf", false, "ignore SIGTERM")
	show := flag.String("show", "", "comma list of files and environment variables to print")
	whoami := flag.Bool("whoami", false, "print who the API server says we are")
	code := flag.Int("exit", -1, "exit with this code")
	say := flag.String("say", "", "a word to print first")
	flag.Parse()
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	if *say != "" {
		log.Print(*say)
	}
	for item := range strings.SplitSeq(*show, ",") {
		if strings.HasPrefix(item, "/") {
			content, err := os.ReadFile(item)
			log.Printf("file: %s %v", content, err)
		} else if item != "" {
			log.Printf("%s=%s", item, os.Getenv(item))
		}
	}
	if *whoami {
		log.Printf("I am %s", name())
	}
	if *code >= 0 {
		os.Exit(*code)
	}
	serve(*listen, *linger, *sick, *deaf)
}

func name() string {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err.Error()
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err.Error()
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(context.Background(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return err.Error()
	}
	return review.Status.UserInfo.Username
}

func serve(listen string, linger, sick time.Duration, deaf bool) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	began := time.Now()
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick > 0 && time.Since(began) > sick {
			http.Error(w, "sick", http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, os.Getenv("HOSTNAME")) })
	if listen != "" {
		go func() { log.Fatal(http.ListenAndServe(listen, nil)) }()
	}
	for {
		log.Printf("heard %v", <-signals)
		if !deaf {
			time.Sleep(linger)
			return
		}
	}
}
