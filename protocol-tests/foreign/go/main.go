// Somebody else's client, franz-go, with the same assertions as those of Java and Python:
//
//	franz-go clients BOOTSTRAP                     every scenario of a client and of its classic groups
//	franz-go groups BOOTSTRAP                      those of groups of the consumer protocol
//	franz-go write BOOTSTRAP PREFIX                its part of "what one writes all others read"
//	franz-go read BOOTSTRAP PREFIX WRITER,...      the other part
//	franz-go member BOOTSTRAP GROUP TOPIC          a cooperative-sticky member that prints what it reads, until it is terminated
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "franz-go clients|groups|write|read|member BOOTSTRAP ...")
		os.Exit(64)
	}
	suite := newSuite("franz-go", os.Args[2])
	switch verb, rest := os.Args[1], os.Args[3:]; {
	case verb == "clients":
		playClients(suite)
	case verb == "groups":
		playGroups(suite)
	case verb == "write" && len(rest) == 1:
		suite.scenario("writes_with_every_codec_and_in_transactions", func() { crossWrite(suite, rest[0]) })
	case verb == "read" && len(rest) == 2:
		for _, writer := range strings.Split(rest[1], ",") {
			suite.scenario("reads_what_"+writer+"_writes", func() { crossRead(suite, rest[0], writer) })
		}
	case verb == "member" && len(rest) == 2:
		printAsMember(suite, rest[0], rest[1])
	default:
		fmt.Fprintf(os.Stderr, "franz-go: no %q with %d arguments\n", verb, len(rest))
		os.Exit(64)
	}
	os.Exit(suite.finish())
}
