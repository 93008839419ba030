// Somebody else's client, franz-go, with the same assertions as those of Java and Python:
//
//	franz-go clients BOOTSTRAP                     every scenario of a client and of its classic groups
//	franz-go groups BOOTSTRAP                      those of groups of the consumer protocol
//	franz-go write BOOTSTRAP PREFIX                its part of "what one writes all others read"
//	franz-go read BOOTSTRAP PREFIX WRITER,...      the other part
//	franz-go member BOOTSTRAP GROUP TOPIC          a cooperative-sticky member that prints what it reads, until it is terminated
//
// And for comparison, by the benches:
//
//	franz-go produce BOOTSTRAP TOPIC COUNT SIZE LINGER_MS CODEC
//	franz-go consume BOOTSTRAP GROUP TOPIC COUNT
//	franz-go latency BOOTSTRAP TOPIC COUNT         how long each of so many records takes, one after the other
//	franz-go idle BOOTSTRAP GROUP TOPIC            a member that prints a line a record, until it is killed
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "franz-go clients|groups|write|read|member|produce|consume|latency|idle BOOTSTRAP ...")
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
	case verb == "latency" && len(rest) == 2:
		measureLatency(suite, rest[0], number(rest[1]))
	case verb == "produce" && len(rest) == 5:
		measureProduce(suite, rest[0], number(rest[1]), number(rest[2]), number(rest[3]), rest[4])
	case verb == "consume" && len(rest) == 3:
		measureConsume(suite, rest[0], rest[1], number(rest[2]))
	case verb == "idle" && len(rest) == 2:
		idle(suite, rest[0], rest[1])
	default:
		fmt.Fprintf(os.Stderr, "franz-go: no %q with %d arguments\n", verb, len(rest))
		os.Exit(64)
	}
	os.Exit(suite.finish())
}
