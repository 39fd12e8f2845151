// SPDX-License-Identifier: Apache-2.0

// Command release packs the chart, and completes the folder of a release.
//
//	release chart     writes the chart as .tgz
//	release complete  adds to a folder with the archives of the commands: the chart and the plain manifest, both for the image
//	                  by its digest, the manifest of the krew plugin, the release notes, and the checksums of all files
//	release check     fails unless the chart and the changelog of this repository have the version
//
// SOURCE_DATE_EPOCH is the time that packed files get.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"outrigger.dev/outrigger/hack/chart"
)

// Release is what is released, and where it is published.
type Release struct {
	Version    string // without a "v"
	Repository string // of the image
	Downloads  string // URL under which each version has a folder with its files
	Time       time.Time
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want a command: chart, complete, or check")
	}
	var r Release
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&r.Version, "version", "", "version without a \"v\"")
	flags.StringVar(&r.Repository, "repository", "", "name of the image without its tag")
	flags.StringVar(&r.Downloads, "downloads", "", "URL under which each version has a folder with its files")
	folder := flags.String("o", "bin", "folder to write to")
	layout := flags.String("layout", "", "OCI layout of the image")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if r.Version == "" {
		return errors.New("-version is required")
	}
	root, err := chart.Root()
	if err != nil {
		return err
	}
	if args[0] == "check" {
		return check(root, r.Version)
	}
	if r.Time, err = epoch(); err != nil {
		return err
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return err
	}
	switch args[0] {
	case "chart":
		own, err := chart.Own()
		if err != nil {
			return err
		}
		packed, file, err := r.packChart(own, *folder, "")
		if err != nil {
			return err
		}
		image, err := packed.Image()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: the chart, for image %s\n", file, image)
		return err
	case "complete":
		return r.complete(root, *folder, *layout, out)
	}
	return fmt.Errorf("unknown command %q; want chart, complete, or check", args[0])
}

// epoch returns the time that packed files get.
func epoch() (time.Time, error) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// packChart writes the chart, and returns it as it is read from there.
func (r Release) packChart(own *chart.Chart, folder, digest string) (*chart.Chart, string, error) {
	data, err := own.Pack(chart.Packed{Version: r.Version, Repository: r.Repository, Digest: digest, Time: r.Time})
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(folder, "outrigger-"+r.Version+".tgz")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return nil, "", err
	}
	packed, err := chart.LoadArchive(data)
	return packed, file, err
}
