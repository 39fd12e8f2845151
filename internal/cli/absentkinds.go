// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// absentFor is how long a kind that the cluster does not have counts as absent.
const absentFor = 30 * time.Second

// absentKinds is a RESTMapper that remembers for absentFor which kinds the cluster does not have. Without it, each look-up of such a kind
// sends discovery requests, and each reading of a stream looks up all kinds that the cluster may have.
type absentKinds struct {
	meta.RESTMapper
	now func() time.Time

	mu     sync.Mutex
	absent map[string]absence // by kind and versions
}

// absence is the error for a kind that the cluster did not have.
type absence struct {
	err  error
	seen time.Time
}

// newMapper returns a RESTMapper for a client.
func newMapper(cluster *rest.Config, web *http.Client) (meta.RESTMapper, error) {
	found, err := apiutil.NewDynamicRESTMapper(cluster, web)
	if err != nil {
		return nil, err
	}
	return &absentKinds{RESTMapper: found, now: time.Now, absent: map[string]absence{}}, nil
}

// RESTMapping implements meta.RESTMapper. Clients and plans look up kinds only with this method.
func (a *absentKinds) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	key := strings.Join(append([]string{kind.String()}, versions...), " ")
	a.mu.Lock()
	known, is := a.absent[key]
	a.mu.Unlock()
	if is && a.now().Sub(known.seen) < absentFor {
		return nil, known.err
	}
	mapping, err := a.RESTMapper.RESTMapping(kind, versions...)
	a.mu.Lock()
	defer a.mu.Unlock()
	if delete(a.absent, key); meta.IsNoMatchError(err) {
		a.absent[key] = absence{err, a.now()}
	}
	return mapping, err
}
