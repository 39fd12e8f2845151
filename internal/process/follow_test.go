// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// followed is a process that follows routing.freeze in a file and a ConfigMap.
type followed struct {
	*FreezeFollower
	t        *testing.T
	folder   string
	versions int
	client   *fake.Clientset
	watches  chan *watch.FakeWatcher // each watch that the process has begun
	changes  chan bool
}

const frozenText, thawedText = "routing: {freeze: true}", "routing: {freeze: false}"

// follow starts a process whose file is not frozen.
func follow(t *testing.T, objects ...runtime.Object) *followed {
	t.Helper()
	f := &followed{t: t, folder: t.TempDir(), client: fake.NewClientset(objects...), watches: make(chan *watch.FakeWatcher, 10), changes: make(chan bool, 10)}
	f.writeFile(thawedText)
	f.client.PrependWatchReactor("configmaps", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if got := action.(clienttesting.WatchAction).GetWatchRestrictions().Fields.String(); got != "metadata.name=outrigger-config" {
			t.Errorf("watches %s", got)
		}
		one := watch.NewFake()
		f.watches <- one
		return true, one, nil
	})
	return f
}

func (f *followed) start() {
	f.t.Helper()
	f.FreezeFollower = FollowFreeze(ConfigSources{File: f.file(), ConfigMap: "outrigger-config", ConfigMaps: f.client.CoreV1().ConfigMaps("outrigger-system")},
		func(on bool) { f.changes <- on }, testr.New(f.t))
	f.every, f.again = time.Millisecond, time.Millisecond
	ctx, stop := context.WithCancel(f.t.Context())
	ended := make(chan error)
	go func() { ended <- f.Start(ctx) }()
	f.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			f.t.Error(err)
		}
	})
}

func (f *followed) file() string { return filepath.Join(f.folder, "config.yaml") }

// writeFile does as the kubelet does: the file is a link to a folder that is replaced.
func (f *followed) writeFile(text string) {
	f.t.Helper()
	f.versions++
	version := strconv.Itoa(f.versions)
	for _, err := range []error{
		os.Mkdir(filepath.Join(f.folder, version), 0o700),
		os.WriteFile(filepath.Join(f.folder, version, "config.yaml"), []byte(text), 0o600),
		os.Symlink(filepath.Join(version, "config.yaml"), f.file()+".new"),
		os.Rename(f.file()+".new", f.file()),
	} {
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// untilRead waits until the process has read the file as it is now.
func (f *followed) untilRead() {
	f.t.Helper()
	want, _ := f.readFile()
	f.until("the file is read", func() bool { return f.FreezeFollower.file == want })
}

// until waits until a condition about the follower is true.
func (f *followed) until(what string, is func() bool) {
	f.t.Helper()
	for f.t.Context().Err() == nil {
		f.mutex.Lock()
		done := is()
		f.mutex.Unlock()
		if done {
			return
		}
		time.Sleep(time.Millisecond)
	}
	f.t.Fatal("not reached: " + what)
}

func (f *followed) becomes(want bool) {
	f.t.Helper()
	if got := <-f.changes; got != want {
		f.t.Errorf("freeze is %t", got)
	}
}

func (f *followed) stays() {
	f.t.Helper()
	select {
	case got := <-f.changes:
		f.t.Errorf("freeze became %t", got)
	default:
	}
}

func configMap(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "outrigger-system", Name: "outrigger-config"}, Data: map[string]string{"config.yaml": text}}
}

func TestFreezeFollowsTheFileWithoutAConfigMap(t *testing.T) {
	t.Parallel()
	f := follow(t)
	f.start() // no such ConfigMap exists
	f.writeFile(frozenText)
	f.becomes(true)
	f.writeFile(thawedText + " # again")
	f.becomes(false)
	f.writeFile("routing: {freeze: yes please}") // invalid: it is skipped
	f.untilRead()
	f.writeFile(frozenText)
	f.becomes(true)
	f.stays()
}

// The ConfigMap is newer than the file, which the kubelet writes later, and perhaps in a state in between.
func TestFreezeFollowsTheConfigMapBeforeTheFile(t *testing.T) {
	t.Parallel()
	f := follow(t, configMap(thawedText))
	f.start()
	api := <-f.watches
	<-f.Looked()
	api.Modify(configMap(frozenText))
	f.becomes(true)
	f.writeFile(thawedText + " # between")
	f.untilRead()
	f.writeFile(frozenText)
	f.untilRead()
	f.stays()
	api.Modify(configMap("routing: {freeze: yes please}"))
	api.Modify(configMap(thawedText))
	f.becomes(false)
	f.stays()
}

// A process that restarts while its file is old begins with the value of the ConfigMap.
func TestFreezeOfAnOldFile(t *testing.T) {
	t.Parallel()
	f := follow(t, configMap(frozenText))
	f.start()
	<-f.Looked()
	select {
	case got := <-f.changes:
		if !got {
			t.Error("it is not frozen")
		}
	default:
		t.Error("others may start before the ConfigMap is read")
	}
}

// Nothing but a newer configuration ends a freeze. While the API server does not deliver it, that is a change of the file.
func TestFreezeStaysWithoutTheAPIServer(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]struct {
		of   func(*watch.FakeWatcher)
		list error
	}{
		"the permission is removed": {func(w *watch.FakeWatcher) { w.Stop() }, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "outrigger-config", errors.New("no rule"))},
		"the API server fails": {func(w *watch.FakeWatcher) {
			w.Error(&metav1.Status{Reason: metav1.StatusReasonExpired, Message: "too old"})
		}, errors.New("connection refused")},
		"the ConfigMap is deleted": {func(w *watch.FakeWatcher) { w.Delete(configMap(frozenText)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, configMap(thawedText))
			f.start()
			api := <-f.watches
			api.Modify(configMap(frozenText))
			f.becomes(true)
			if breaks.list != nil {
				f.client.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, breaks.list })
			}
			breaks.of(api)
			f.until("the watch is lost", func() bool { return !f.isWatched })
			f.writeFile(frozenText) // late
			f.untilRead()
			f.stays()
			f.writeFile(thawedText + " # now")
			f.becomes(false)
		})
	}
}

// After an error, the process watches again, and takes over what it missed.
func TestFreezeIsWatchedAgain(t *testing.T) {
	t.Parallel()
	f := follow(t, configMap(thawedText))
	f.start()
	first := <-f.watches
	if _, err := f.client.CoreV1().ConfigMaps("outrigger-system").Update(t.Context(), configMap(frozenText), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.stays()
	first.Stop()
	f.becomes(true)
	(<-f.watches).Modify(configMap(thawedText))
	f.becomes(false)
}

// A job that needs the first value waits for it.
func TestAfterWaits(t *testing.T) {
	t.Parallel()
	ready, started := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- After(ready, jobFunc(func(ctx context.Context) error {
			select {
			case <-ready:
			default:
				t.Error("it has not waited")
			}
			close(started)
			<-ctx.Done()
			return nil
		})).Start(ctx)
	}()
	close(ready)
	<-started
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
