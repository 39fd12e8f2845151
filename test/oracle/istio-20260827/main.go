// SPDX-License-Identifier: Apache-2.0

// Command istio-20260827 is package answers with Istio's code of 27 August 2026.
package main

import "outrigger.dev/outrigger/test/oracle/answers"

func main() { answers.Main() }
