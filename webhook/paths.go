// SPDX-License-Identifier: Apache-2.0

package webhook

import "net/http"

// Paths serves every path of the table by its handler, and all others by the handler of pods, which checks its own.
func Paths(pods http.Handler, table map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler, is := table[r.URL.Path]; is {
			handler.ServeHTTP(w, r)
			return
		}
		pods.ServeHTTP(w, r)
	})
}
