package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A busy machine is no fault.
const patience = 120 * time.Second

// suite plays scenarios one after another: a line for each, names that nobody else uses, topics deleted afterwards.
type suite struct {
	client, bootstrap, prefix string
	admin                     *kadm.Client
	given                     []string
	failures                  int
}

func newSuite(client, bootstrap string) *suite {
	some := make([]byte, 4)
	got(rand.Read(some))
	// What it remembers of topics is not to be asked.
	connected := got(kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.MetadataMinAge(10*time.Millisecond)))
	return &suite{
		client: client, bootstrap: bootstrap, prefix: fmt.Sprintf("foreign-%s-%x", client, some), admin: kadm.NewClient(connected),
	}
}

// scenario says how it went; what a scenario expects in vain, it panics with.
func (s *suite) scenario(name string, play func()) {
	began := time.Now()
	verdict, remark := "ok  ", ""
	func() {
		defer func() {
			if wrong := recover(); wrong != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n%s\n", name, wrong, debug.Stack())
				s.failures++
				verdict, remark = "FAIL", fmt.Sprintf("; %v", wrong)
			}
		}()
		play()
	}()
	fmt.Printf("%s %s %s (%.1f s)%s\n", verdict, s.client, name, time.Since(began).Seconds(), remark)
}

func (s *suite) fresh() string {
	s.given = append(s.given, fmt.Sprintf("%s-%d", s.prefix, len(s.given)))
	return s.given[len(s.given)-1]
}

// finish deletes what was made, and says the program's exit code.
func (s *suite) finish() int {
	if len(s.given) > 0 {
		// Deleted already, never made, or the name of a group: no matter.
		_, _ = s.admin.DeleteTopics(within(), s.given...)
	}
	s.admin.Close()
	if s.failures > 0 {
		return 1
	}
	return 0
}

func within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func got[T any](value T, err error) T {
	must(err)
	return value
}

func equal[T any](got, want T, what string) {
	if !reflect.DeepEqual(got, want) {
		panic(fmt.Sprintf("%s: got %s, want %s", what, excerpt(got), excerpt(want)))
	}
}

func excerpt(value any) string {
	text := fmt.Sprintf("%+v", value)
	if len(text) > 600 {
		return text[:600] + " ..."
	}
	return text
}

func holds(condition bool, what string) {
	if !condition {
		panic(what)
	}
}

func refused(got, want error, what string) {
	if !errors.Is(got, want) {
		panic(fmt.Sprintf("%s: refused with %v, want %v", what, got, want))
	}
}

// until asks again and again.
func until(condition func() bool, what func() string) {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic(fmt.Sprintf("not within %s: %s", patience, what()))
		}
	}
}
