// SPDX-License-Identifier: Apache-2.0

// Launcher starts one command of the control plane so that it cannot outlive the process that asked for it, and
// clears up after a control plane whose owner was killed.
//
// It is in the folder of a control plane, under the name of the command that it starts:
//
//	DIR/owner          the process id of the owner
//	DIR/bin/NAME       this program
//	DIR/bin/NAME.real  a symbolic link to the command
//	DIR/run/NAME       written by it: the process id of the command
//
// Called as "guard DIR" it reads its standard input until the owner closes it or dies. One byte means that the
// owner has stopped everything itself; none means that it died, and guard waits for the commands to end and removes DIR.
//
// It uses nothing but the standard library, so that it can be built from its embedded source anywhere.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// init keeps main on one thread: the parent-death signal belongs to a thread, and exec keeps that of the calling one.
func init() { runtime.LockOSThread() }

func main() {
	var err error
	if len(os.Args) == 2 && filepath.Base(os.Args[0]) == "guard" {
		err = guard(os.Args[1])
	} else {
		err = launch()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		os.Exit(1)
	}
}

func launch() error {
	bin, name := filepath.Split(os.Args[0])
	dir := filepath.Dir(filepath.Clean(bin))
	command, err := os.Readlink(filepath.Join(bin, name+".real"))
	if err != nil {
		return err
	}
	owner, err := readPID(filepath.Join(dir, "owner"))
	if err != nil {
		return err
	}
	if err := dieWithParent(); err != nil {
		return err
	}
	if parent := os.Getppid(); parent != owner { // it died before we could say that we die with it
		return fmt.Errorf("%s: parent is process %d, not %d", name, parent, owner)
	}
	if err := os.WriteFile(filepath.Join(dir, "run", name), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	return syscall.Exec(command, append([]string{command}, os.Args[1:]...), os.Environ())
}

func guard(dir string) error {
	if n, _ := io.ReadFull(os.Stdin, make([]byte, 1)); n == 1 {
		return nil
	}
	records, _ := filepath.Glob(filepath.Join(dir, "run", "*"))
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		running := false
		for _, record := range records {
			if pid, err := readPID(record); err == nil && alive(pid) {
				running = true
				orphaned(pid)
			}
		}
		if !running {
			break
		}
	}
	return os.RemoveAll(dir)
}

func readPID(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
