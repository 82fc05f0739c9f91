// SPDX-License-Identifier: Apache-2.0

// Package checks is what the Go programs share: checks, and what they ask of the runner (../../run.py says how).
package checks

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

var (
	Bootstrap = os.Getenv("BOOTSTRAP")
	Short     = os.Getenv("SHORT") != ""
	Codecs    = []string{"none", "gzip", "snappy", "lz4", "zstd"}
	Then      = time.Now().UnixMilli() - 3600000 // what is older than its retention goes any moment
	in        = bufio.NewReader(os.Stdin)
)

type failure string

func Fail(form string, args ...any) {
	panic(failure(fmt.Sprintf(form, args...)))
}

func Must(err error, what ...any) {
	if err != nil {
		Fail("%s: %v", fmt.Sprint(what...), err)
	}
}

func Eq[T comparable](got, want T, what string) {
	if got != want {
		Fail("%s: got %v, want %v", what, got, want)
	}
}

func Name(what string) string {
	return os.Getenv("PREFIX") + "-" + what
}

func Ask(words string) {
	fmt.Println("@" + words)
	answer, _ := in.ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		Fail("%s: %s", words, strings.TrimSpace(answer))
	}
}

func Until(what string, seconds int, holds func() bool) {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for !holds() {
		if time.Now().After(end) {
			Fail("waited %d s for: %s", seconds, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func Check(title string, body func()) {
	if !strings.Contains(title, os.Getenv("CHECKS")) {
		return
	}
	defer func() {
		if e := recover(); e != nil {
			if f, own := e.(failure); own {
				fmt.Printf("FAIL %s: %s\n", title, strings.Join(strings.Fields(string(f)), " "))
				return
			}
			panic(e)
		}
		fmt.Println("ok " + title)
	}()
	body()
}
