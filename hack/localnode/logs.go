// SPDX-License-Identifier: Apache-2.0

package localnode

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Logs returns what the containers of a pod have written so far, restarts included, container by container. It also
// works when the pod is gone. The name may hold the wildcard "*". A pod that is not known has no logs.
func (n *Node) Logs(namespace, name string) string {
	files, err := filepath.Glob(n.logPath(namespace, name, "*"))
	if err != nil {
		return ""
	}
	var text []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		text = append(text, content...)
	}
	return string(text)
}

// logPath is where a container writes; every restart appends. Names of objects hold no "_".
func (n *Node) logPath(namespace, pod, container string) string {
	return filepath.Join(n.options.Dir, "logs", namespace+"_"+pod+"_"+container+".log")
}

// serveLogs answers what the API server asks a kubelet for "kubectl logs", at a port of the node's address.
func (n *Node) serveLogs(ctx context.Context) (port int, err error) {
	certificate, err := selfSigned()
	if err != nil {
		return 0, fmt.Errorf("certificate of the node: %w", err)
	}
	listener, err := net.Listen("tcp", n.block.nodeAddress()+":0")
	if err != nil {
		return 0, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.answerLogs)
	server := &http.Server{
		Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(io.Discard, "", 0),
	}
	n.work.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.log.Printf("node %s: the server of logs: %v", n.Name(), err)
		}
	})
	n.work.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (n *Node) answerLogs(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	for _, unknown := range []string{"previous", "timestamps", "sinceSeconds", "sinceTime"} {
		if query.Has(unknown) && query.Get(unknown) != "false" {
			http.Error(w, "a local node keeps one log per container, all its runs in it, without times: "+unknown+" cannot be had", http.StatusBadRequest)
			return
		}
	}
	file, err := os.Open(n.logPath(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")))
	if err != nil {
		http.Error(w, "this container has not run", http.StatusNotFound)
		return
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if lines, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		text = tail(text, lines)
	}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil && limit < len(text) {
		text = text[:limit]
	}
	if _, err := w.Write(text); err != nil || query.Get("follow") != "true" {
		return
	}
	keepUp(r.Context(), w, file, func() bool {
		return n.runs(r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	})
}

// runs says whether a container of a pod of that name runs now.
func (n *Node) runs(namespace, pod, container string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		for _, c := range slices.Concat(p.inits, p.mains) {
			if p.key.Namespace == namespace && p.key.Name == pod && c.spec.Name == container && c.isRunning() {
				return true
			}
		}
	}
	return false
}

// keepUp copies what is appended until the container ends or the reader disconnects.
func keepUp(ctx context.Context, w http.ResponseWriter, file io.Reader, runs func() bool) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		last := !runs() // asked before the copy, which then has everything
		if _, err := io.Copy(w, file); err != nil || last {
			return
		}
	}
}

func tail(text []byte, count int) []byte {
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	kept := strings.Join(lines[max(0, len(lines)-count):], "")
	if count > 0 && len(text) > 0 {
		kept += "\n"
	}
	return []byte(kept)
}

// selfSigned returns a certificate that is not verified: an API server without a CA for kubelets does not verify them.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
