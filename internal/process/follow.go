// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"outrigger.dev/outrigger/api"
)

const (
	// readConfigEvery is how often the configuration file is read again. The kubelet replaces a ConfigMap in a volume by a symbolic
	// link, which file notifications do not follow, and does so up to a minute after a change.
	readConfigEvery = 2 * time.Second
	// watchConfigAgain is the pause before the ConfigMap is watched again. It doubles after each error, up to slowestWatchAgain.
	watchConfigAgain  = time.Second
	slowestWatchAgain = 10 * time.Second
	// listConfigTimeout limits a request that hangs.
	listConfigTimeout = 10 * time.Second
	// configKey is the key of the configuration in its ConfigMap.
	configKey = "config.yaml"
)

// ConfigSources are where a running process reads its configuration again.
type ConfigSources struct {
	File       string                          // empty for none
	ConfigMaps corev1client.ConfigMapInterface // of the process's namespace; nil to read the file only
	ConfigMap  string                          // the name of the ConfigMap that is mounted as the file
}

// FreezeFollower is a job that follows routing.freeze, the only field that takes effect without a restart. While the API server delivers
// the ConfigMap, its value applies, because the file is older. Otherwise, a change of the file does. An error, a missing permission, an
// invalid configuration, or a deleted ConfigMap changes nothing. Create it with FollowFreeze.
type FreezeFollower struct {
	sources ConfigSources
	set     func(bool)
	log     logr.Logger
	every   time.Duration // between two readings of the file
	again   time.Duration // before the ConfigMap is watched again

	looked    chan struct{} // closed after the first attempt to read the ConfigMap
	lookOnce  sync.Once
	mutex     sync.Mutex
	isWatched bool   // the API server delivers the ConfigMap
	isLost    bool   // it was reported that it does not
	file      string // the file when it was read last
	text      string // the configuration that was read last, from either source
}

// FollowFreeze returns a FreezeFollower. set gets the value after each change of the configuration.
func FollowFreeze(sources ConfigSources, set func(bool), logger logr.Logger) *FreezeFollower {
	f := &FreezeFollower{sources: sources, set: set, log: logger, every: readConfigEvery, again: watchConfigAgain, looked: make(chan struct{})}
	f.file, _ = f.readFile()
	f.text = f.file
	return f
}

// Looked returns a channel that is closed after the first attempt to read the ConfigMap. The file of a container that restarts can be older.
func (f *FreezeFollower) Looked() <-chan struct{} { return f.looked }

// Start follows both sources until ctx is done.
func (f *FreezeFollower) Start(ctx context.Context) error {
	return together(ctx, jobFunc(f.followFile), jobFunc(f.followConfigMap))
}

func (f *FreezeFollower) readFile() (text string, ok bool) {
	if f.sources.File == "" {
		return "", false
	}
	read, err := os.ReadFile(f.sources.File)
	return string(read), err == nil // one that is missing is being replaced
}

func (f *FreezeFollower) followFile(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if text, ok := f.readFile(); ok {
			f.sawFile(text)
		}
	}
}

// sawFile uses the file if it has changed, unless the API server delivers the ConfigMap.
func (f *FreezeFollower) sawFile(text string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if text == f.file {
		return
	}
	f.file = text
	if !f.isWatched {
		f.use(text, "file "+f.sources.File)
	}
}

// use passes the value of a configuration that differs from the one before and is valid. The mutex is locked.
func (f *FreezeFollower) use(text, source string) {
	if text == f.text {
		return
	}
	f.text = text
	config, err := api.LoadConfig([]byte(text))
	if err != nil {
		f.log.Error(err, "the configuration was changed and is invalid; the values before apply", "source", source)
		return
	}
	f.log.Info("the configuration was changed; routing.freeze takes effect at once, and all other fields with the next start", "source", source, "routing.freeze", config.Routing.Freeze)
	f.set(config.Routing.Freeze)
}

func (f *FreezeFollower) followConfigMap(ctx context.Context) error {
	if f.sources.ConfigMaps == nil {
		f.lookOnce.Do(func() { close(f.looked) })
		<-ctx.Done()
		return nil
	}
	pause := f.again
	for {
		err := f.watchConfigMap(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			pause = f.again
		} else {
			f.lost(err)
			pause = min(2*pause, slowestWatchAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// lost notes that the file counts now, and reports it once.
func (f *FreezeFollower) lost(err error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !f.isLost {
		f.log.Error(err, "the ConfigMap cannot be watched; until it can, routing.freeze is followed in the mounted file, up to a minute late", "configMap", f.sources.ConfigMap)
	}
	f.isWatched, f.isLost = false, true
}

// watchConfigMap reads the ConfigMap and follows it. It returns nil when the API server ends the watch, as it does regularly.
func (f *FreezeFollower) watchConfigMap(ctx context.Context) error {
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, f.sources.ConfigMap).String()}
	listing, cancel := context.WithTimeout(ctx, listConfigTimeout)
	list, err := f.sources.ConfigMaps.List(listing, only)
	cancel()
	defer f.lookOnce.Do(func() { close(f.looked) }) // also after an error
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if len(list.Items) == 0 {
		f.deleted()
	}
	for i := range list.Items {
		f.sawConfigMap(&list.Items[i])
	}
	f.lookOnce.Do(func() { close(f.looked) })
	only.ResourceVersion = list.ResourceVersion
	events, err := f.sources.ConfigMaps.Watch(ctx, only)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, isOpen := <-events.ResultChan():
			if !isOpen {
				return nil
			}
			if event.Type == watch.Error {
				return fmt.Errorf("watch: %w", apierrors.FromObject(event.Object))
			}
			configMap, is := event.Object.(*corev1.ConfigMap)
			switch {
			case !is:
			case event.Type == watch.Deleted:
				f.deleted()
			default:
				f.sawConfigMap(configMap)
			}
		}
	}
}

func (f *FreezeFollower) sawConfigMap(configMap *corev1.ConfigMap) {
	text, has := configMap.Data[configKey]
	if !has {
		f.deleted()
		return
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.isWatched, f.isLost = true, false
	f.use(text, "ConfigMap "+f.sources.ConfigMap)
}

// deleted notes that the API server has no configuration. The last value applies.
func (f *FreezeFollower) deleted() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.isWatched = false
}
