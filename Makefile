# The commands of the README. Everything they need beside Go, make and git is built into a cache folder.

GO      ?= go
CACHE   ?= $(or $(OUTRIGGER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/outrigger)
LINTER  := $(CACHE)/golangci-lint-$(shell sed -n 's|.*golangci/golangci-lint/v2 \(v[^ ]*\).*|\1|p' hack/tools/lint/go.mod)
ACTIONLINT := $(CACHE)/actionlint-$(shell sed -n 's|.*rhysd/actionlint \(v[^ ]*\).*|\1|p' hack/tools/actionlint/go.mod)
VULNDB ?= https://vuln.go.dev
D2 := $(CACHE)/d2-$(shell sed -n 's|.*terrastruct.com/d2 \(v[^ ]*\).*|\1|p' hack/tools/d2/go.mod)
VERSION ?= $(shell sh hack/version.sh)
# The version that everything has: the binary, the chart, and, without build metadata, the image's tag. VERSION=v1.2.3 is 1.2.3.
NUMBER  = $(patsubst v%,%,$(VERSION))
include release.env
MODULES := . hack hack/image test test/certmanager test/oracle/answers test/oracle/istio-20260423 test/oracle/istio-20260827 test/oracle/validation test/bench test/alerts test/traffic

# The Go that the image is built with, and that "make vuln" looks at: the same commit gives the same bytes, and a standard
# library without known vulnerabilities, whatever Go is installed. It is fetched like a module. IMAGE_GO=local takes what is there.
IMAGE_GO ?= go1.26.10

# The race detector needs a C compiler. RACE=required makes its absence an error, RACE=off switches it off.
RACE ?= auto
CC_FOUND := $(shell command -v $$($(GO) env CC) 2>/dev/null)
ifeq ($(RACE),off)
  RACE_FLAG :=
else ifneq ($(CC_FOUND),)
  RACE_FLAG := -race
else ifeq ($(RACE),required)
  RACE_FLAG = $(error no C compiler found, and RACE=required: install one, e.g. gcc)
endif

.PHONY: help build check-version image chart release manifest quickstart test test-clusters test-others e2e e2e-images demo oracle fuzz bench bench-apiserver bench-scale lint vuln fmt docs picture screenshots

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/outrigger
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(NUMBER)" -o bin/outrigger ./cmd/outrigger

# A version that the chart or a tag cannot have fails before anything is removed or compiled.
check-version: export NUMBER := $(NUMBER)
check-version:
	@sh hack/check-version.sh "$$NUMBER"

IMAGE = cd hack/image && GOTOOLCHAIN=$(IMAGE_GO) $(GO) run . -repository $(IMAGE_REPOSITORY) -version $(NUMBER)

image: check-version ## bin/image, an OCI layout for amd64 and arm64, and bin/outrigger-image.tar for docker, kind, k3d, k3s, ctr; PLATFORMS=linux/amd64 builds one platform (docs/howto/images.md)
	$(IMAGE) $(if $(PLATFORMS),-platforms $(PLATFORMS)) -o $(CURDIR)/bin/image -archive $(CURDIR)/bin/outrigger-image.tar

chart: check-version ## bin/outrigger-VERSION.tgz, the chart with this version, for the image of "make image"
	$(GO) -C hack run ./release chart -repository $(IMAGE_REPOSITORY) -version $(NUMBER) -o $(CURDIR)/bin

manifest: ## write bin/outrigger.yaml, the chart's defaults for "kubectl apply"
	$(GO) -C hack run ./manifest -o $(CURDIR)/bin/outrigger.yaml

quickstart: ## install Istio, Outrigger, and an example on kind, k3d, or your own cluster (docs/start/quickstart.md)
	@hack/quickstart.sh

# What a release has commands for.
RELEASE_PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64,windows/arm64
RELEASE := $(CURDIR)/bin/release
STAGED := $(CURDIR)/bin/.release

# Packed files get the time of the commit.
chart release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

# The image and the files are complete before they replace the previous ones, so a failed release leaves those as they are.
release: check-version ## bin/release: commands, image archives, chart, manifest, krew plugin, SBOMs, notes, checksums; VERSION=v1.2.3
	rm -rf $(STAGED) && mkdir -p $(STAGED)/files
	$(IMAGE) -o $(STAGED)/image -archive '$(STAGED)/files/outrigger-image_$(NUMBER)_%s.tar'
	$(IMAGE) -platforms $(RELEASE_PLATFORMS) -binaries $(STAGED)/files
	$(GO) -C hack run ./release complete -repository $(IMAGE_REPOSITORY) -downloads $(DOWNLOAD_URL) -version $(NUMBER) -layout $(STAGED)/image -o $(STAGED)/files
	rm -rf $(RELEASE) $(CURDIR)/bin/image
	mv $(STAGED)/files $(RELEASE) && mv $(STAGED)/image $(CURDIR)/bin/image && rmdir $(STAGED)
	@echo "bin/release: the release; bin/image: its image, to be pushed to a registry"

# Ctrl-C ends the demo with status 130, which is no error. The shell gets the signal, too, and must outlive the demo to say so.
demo: ## a user's journey on a real control plane; stays up (ONCE=1: ends by itself, VERBOSE=1: every command and the YAML)
	@mkdir -p $(CACHE)
	@echo "building the demo; the first time takes about ten minutes on two cores"
	@$(GO) -C hack build -o $(CACHE)/demo ./demo 2>$(CACHE)/demo.log || { cat $(CACHE)/demo.log; exit 1; }
	@trap : INT; cd hack && ONCE=$(ONCE) VERBOSE=$(VERBOSE) $(CACHE)/demo || [ $$? -eq 130 ]

# The tests of module test mostly wait for effects in their clusters, so all other tests run beside them.
test: ## all tests; the first time it builds the control plane (KUBERNETES=v1.30.14: another release of Kubernetes)
	@echo "race detector: $(if $(RACE_FLAG),on,off (no C compiler was found, or RACE=off))"
	@$(MAKE) --no-print-directory -j 2 test-clusters test-others

test-clusters:
	cd test && $(GO) test $(RACE_FLAG) -timeout 60m $$($(GO) list ./... | grep -v /oracle$$)

# ./routing and hack/chart start no goroutine, so the race detector only makes their walks and renderings many times slower. What measures
# memory in ./webhook runs once more without it. Without it, too, for test/alerts and test/oracle: Prometheus takes minutes to
# build with it, twelve thousand pods take three times as long to compare, and what runs there of ours is tested with it elsewhere.
test-others:
	$(GO) test $(RACE_FLAG) -timeout 30m $$($(GO) list ./... | grep -v /routing$$)
	$(GO) test -timeout 20m ./routing
	$(if $(RACE_FLAG),$(GO) test -timeout 20m -run 'TestNothingIsKilled|TestExpansionIsAn' ./webhook)
	cd hack && $(GO) test $(RACE_FLAG) -timeout 60m $$($(GO) list ./... | grep -v /chart$$)
	cd hack && $(GO) test -timeout 20m ./chart
	cd hack/image && $(GO) test -timeout 30m ./...
	cd test && $(GO) test -timeout 30m ./oracle
	cd test/alerts && $(GO) test -timeout 20m ./...
	cd test/traffic && $(GO) test -timeout 10m $$($(GO) list ./... | grep -v /scenarios$$)

# How the nodes of the cluster get the images: E2E_LOAD is a command that loads an archive, or E2E_IMAGE and E2E_APP name images that
# the nodes can pull. E2E_ARGS are arguments of the test, such as "-test.run TestTraffic/with_Outrigger".
E2E_PLATFORMS ?= linux/$(shell $(GO) env GOARCH)
TRAFFIC := $(CURDIR)/bin/traffic
export E2E_IMAGE E2E_LOAD E2E_APP E2E_NODE E2E_DISRUPTIVE
e2e: ## real traffic in the cluster of your kubeconfig, with plots in bin/traffic (docs/testing.md)
	@[ -n "$(E2E_IMAGE)$(E2E_LOAD)" ] || { echo "make e2e needs a cluster with Istio, and E2E_LOAD=COMMAND or E2E_IMAGE=IMAGE for Outrigger's image; see docs/testing.md."; exit 1; }
	@for program in kubectl helm; do command -v $$program >/dev/null || { echo "make e2e needs $$program on the PATH; see docs/testing.md."; exit 1; }; done
	@[ -z "$(E2E_IMAGE)" ] || [ -n "$(E2E_APP)" ] || { echo "E2E_IMAGE also needs E2E_APP, the image of the pods that send and answer requests, without a tag; see docs/testing.md."; exit 1; }
	@kubectl version --request-timeout=15s >/dev/null 2>&1 || { echo "make e2e needs a cluster: that of \"kubectl config current-context\" does not answer; see docs/testing.md."; exit 1; }
	@$(MAKE) --no-print-directory build $(if $(E2E_LOAD),image e2e-images PLATFORMS=$(E2E_PLATFORMS))
	@mkdir -p $(TRAFFIC)
	cd test/traffic && $(GO) test -c -o $(TRAFFIC)/scenarios.test ./scenarios
	cd test/traffic/scenarios && $(TRAFFIC)/scenarios.test -test.v -test.timeout 60m -test.parallel 3 -pages $(TRAFFIC) $(E2E_ARGS)

e2e-images: ## the images of the pods that "make e2e" creates: layouts bin/traffic/image-42 and -43, archives bin/traffic-42.tar and -43.tar
	@mkdir -p $(TRAFFIC)
	cd hack/image && for tag in 42 43; do GOTOOLCHAIN=$(IMAGE_GO) $(GO) run . -module $(CURDIR)/test/traffic -package ./app -repository outrigger.dev/traffic -version $$tag \
	  $(if $(PLATFORMS),-platforms $(PLATFORMS)) -o $(TRAFFIC)/image-$$tag -archive $(CURDIR)/bin/traffic-$$tag.tar || exit 1; done

# How long each fuzz target runs.
FUZZTIME ?= 10m

fuzz: ## fuzz the injector, the webhook and the routing annotations, one target after the other
	$(GO) test ./inject -run '^$$' -fuzz '^FuzzInject$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	$(GO) test ./inject -run '^$$' -fuzz '^FuzzConfig$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	$(GO) test ./inject -run '^$$' -fuzz '^FuzzMerge$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	$(GO) test ./inject/jsonpatch -run '^$$' -fuzz '^FuzzDiff$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	$(GO) test ./inject -run '^$$' -fuzz '^FuzzReplicaOf$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	$(GO) test ./webhook -run '^$$' -fuzz '^FuzzReview$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	cd test && $(GO) test ./oracle -run '^$$' -fuzz '^FuzzPodStaysValid$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 5s
	cd test && $(GO) test ./oracle -run '^$$' -fuzz '^FuzzAnnotations$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 20x

# How long each measurement takes, how often it is taken, and how many requests the memory is watched for.
BENCHTIME ?= 0.5s
BENCHCOUNT ?= 6
BENCHREQUESTS ?= 1000000

# How many generated pods both injectors get, and what they are drawn by.
PAIRS ?= 20000
SEED  ?= 1

oracle: ## compare with Istio's own injector over many generated pods (about 10 minutes)
	cd test && $(GO) test ./oracle -run TestGeneratedPodsEqualIstios -v -timeout 60m -args -pairs $(PAIRS) -seed $(SEED)

bench: ## benchmarks, side by side with Istio's own handler (about 15 minutes)
	$(GO) test -run '^$$' -bench . -benchmem ./...
	@mkdir -p $(CACHE)
	cd test/bench && $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -count $(BENCHCOUNT) -timeout 60m . >$(CACHE)/bench.txt || { cat $(CACHE)/bench.txt; exit 1; }
	cd test/bench && $(GO) tool benchstat -col /by $(CACHE)/bench.txt
	cd test/bench && $(GO) test -run TestMemoryStaysFlat -v -requests $(BENCHREQUESTS) -timeout 60m .

bench-apiserver: ## pods per second through a real API server: no webhook, a constant patch, Outrigger, Istio's handler (about 5 minutes)
	cd test/bench && $(GO) test -run TestPodsPerSecond -v -timeout 60m . -apiserver -rounds $(or $(ROUNDS),5) -lasts $(or $(LASTS),4s)

bench-scale: ## routing at scale on a real API server; SIZE=small, middle, large, canaries or dashboard (docs/understand/scale.md)
	$(GO) -C test build -o $(CURDIR)/bin/scale ./scale
	$(CURDIR)/bin/scale -size $(or $(SIZE),small) -rounds $(or $(ROUNDS),3)

lint: $(LINTER) $(ACTIONLINT) ## formatting, vet and linters, for the workflows, too
	$(ACTIONLINT) -shellcheck= -pyflakes=
	@for module in $(MODULES); do echo "lint $$module"; (cd $$module && $(LINTER) run --allow-parallel-runners --config $(CURDIR)/.golangci.yaml ./...) || exit 1; done

$(LINTER):
	@echo "building the linter into $(CACHE) (about 3 minutes on 2 cores, once)"
	@mkdir -p $(CACHE)
	$(GO) -C hack/tools/lint build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(ACTIONLINT):
	@mkdir -p $(CACHE)
	$(GO) -C hack/tools/actionlint build -o $@ github.com/rhysd/actionlint/cmd/actionlint

vuln: ## check what Outrigger calls for known vulnerabilities; VULNDB=URL names another database
	GOTOOLCHAIN=$(IMAGE_GO) $(GO) tool -modfile=hack/tools/vuln/go.mod govulncheck -db $(VULNDB) ./...

fmt: ## format all Go files
	gofmt -w $$(git ls-files '*.go')

docs: ## generate docs/reference (annotations, commands, reasons, settings, the table of metrics), the chart's README and the schema of its values
	$(GO) generate . ./cmd/outrigger

picture: $(D2) ## draw docs/pictures/overview.svg from overview.d2, its source
	$(D2) --layout elk --elk-nodeNodeBetweenLayers 30 --elk-padding "[top=56,left=24,bottom=24,right=24]" --theme 0 --dark-theme 200 docs/pictures/overview.d2 docs/pictures/overview.svg
	chmod 644 docs/pictures/overview.svg
	$(GO) test -run TestPictureIsDrawnFromItsSource . -update

screenshots: ## pictures of each page of the dashboard in bin/screenshots, and those of the README in docs/pictures; needs Chromium (test/README.md)
	cd test && $(GO) test ./e2e -run '^TestDashboard' -count 1 -timeout 30m
	cp bin/screenshots/dashboard-overview.png bin/screenshots/dashboard-service.png docs/pictures/

$(D2):
	@mkdir -p $(CACHE)
	$(GO) -C hack/tools/d2 build -o $@ oss.terrastruct.com/d2
