// Command hello stands for Outrigger where a test needs an image and not what is in it.
package main

var version string

func main() { println("hello", version) }
