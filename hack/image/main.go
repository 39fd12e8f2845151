// SPDX-License-Identifier: Apache-2.0

// Command image builds Outrigger's container image as an OCI layout, for every platform, without a base image and without
// a container engine, and packs the layout as an archive for container engines. With -binaries it packs the commands of a
// release instead. The same commit gives the same bytes on every machine.
//
// What is in the image beside the binary: the certificates of public authorities, a passwd and a group file with the user
// that it runs as, that user's home, an empty /tmp, and the licenses of all that is compiled in. Each image has a bill of
// materials in CycloneDX, an artifact whose subject is the image.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("o", filepath.Join("bin", "image"), "folder of the layout; an earlier layout there is replaced")
	archive := flag.String("archive", "", "file for container engines to load; none if empty. With %s in its name, one file for each platform")
	binaries := flag.String("binaries", "", "folder for archives of the commands and their bills of materials, instead of an image")
	repository := flag.String("repository", "", "name of the image without its tag")
	version := flag.String("version", "", "version of the binary and the image")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "platforms to build for")
	docker := flag.String("docker-platform", "", "platform of the archive's image for \"docker load\". If empty, this machine's if it is one of -platforms, else the first of them")
	root := flag.String("root", filepath.Join("..", ".."), "folder of the repository")
	module := flag.String("module", "", "folder of the Go module that holds the package; -root if empty")
	pkg := flag.String("package", "./cmd/outrigger", "main package in the image")
	flag.Parse()
	if *version == "" || *repository == "" && *binaries == "" {
		return errors.New("-version and -repository are required")
	}

	created, err := commitTime(ctx, *root)
	if err != nil {
		return err
	}
	recipe := Recipe{Root: *root, Module: *module, Package: *pkg, Repository: *repository, Version: *version, Created: created, Stamp: true, Progress: os.Stderr}
	for _, name := range strings.Split(*platforms, ",") {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return err
		}
		recipe.Platforms = append(recipe.Platforms, *platform)
	}
	if *binaries != "" {
		return recipe.WriteBinaries(ctx, *binaries)
	}
	digest, err := recipe.Write(ctx, *out)
	if err != nil {
		return err
	}
	fmt.Printf("%s: OCI layout of %s:%s for %s, %s\n", *out, *repository, recipe.Tag(), *platforms, digest)
	return archives(*out, *archive, *docker, recipe.Platforms)
}

// archives writes the archives of a layout.
func archives(layout, pattern, docker string, platforms []v1.Platform) error {
	if pattern == "" {
		return nil
	}
	if !strings.Contains(pattern, "%s") {
		platform, err := dockerPlatform(docker, platforms)
		if err != nil {
			return err
		}
		platforms = []v1.Platform{platform}
	}
	for _, platform := range platforms {
		file := strings.ReplaceAll(pattern, "%s", platform.OS+"_"+platform.Architecture)
		if err := Archive(layout, file, platform); err != nil {
			return err
		}
		fmt.Printf("%s: the same for container engines; \"docker load\" takes %s from it\n", file, platform)
	}
	return nil
}

// dockerPlatform returns the platform of the image that "docker load" takes. An empty name chooses this machine's if it is built,
// else the first one.
func dockerPlatform(name string, built []v1.Platform) (v1.Platform, error) {
	if name != "" {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return v1.Platform{}, err
		}
		return *platform, nil
	}
	own := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if slices.ContainsFunc(built, own.Equals) {
		return own, nil
	}
	return built[0], nil
}
