// SPDX-License-Identifier: Apache-2.0

// Command istio-20260423 is package answers with Istio's code of 23 April 2026.
package main

import "outrigger.dev/outrigger/test/oracle/answers"

func main() { answers.Main() }
