package uring

import (
	"fmt"
	"math/bits"
	"strings"
)

// Features is a set of optional abilities of the kernel's io_uring. What the
// kernel has is found by trying (Probe); what is used can be masked, so that
// one kernel plays an older one.
type Features uint64

// The optional features. Each one's documentation and the kernel that brought
// it are in the table below; nothing is ever decided by a kernel version.
const (
	FeatureSubmitAll Features = 1 << iota
	FeatureCoopTaskrun
	FeatureTaskrunFlag
	FeaturePollFirst
	FeatureSkipSuccess
	FeatureExtArg
	FeatureNoSQArray
	FeatureSingleIssuer
	FeatureDeferTaskrun
	FeatureMultishotAccept
	FeatureMultishotRecv
	FeatureBufferRing
	FeatureBufferRingInc
	FeatureBundles
	FeatureSendZC
	FeatureSendmsgZC
	FeatureMinTimeout
	FeatureNAPI
	FeatureSyncCancel
	FeatureSendWaitAll
	FeatureRestrictions
	FeatureSockNonempty
	FeatureUnixNonempty
	FeatureAcceptDontwait
	featureEnd
)

// AllFeatures has every feature.
const AllFeatures = featureEnd - 1

// FeatureInfo describes one feature.
type FeatureInfo struct {
	Bit  Features
	Name string
	// Since is the kernel version that brought it upstream; distributions
	// carry features back. For messages and tests only.
	Since string
	// For says what it is good for, and Without what is done where it is absent.
	For, Without string
	// Used says that this version of the library takes advantage of it.
	Used bool
}

// FeatureTable describes every feature, in the order of their bits.
var FeatureTable = [...]FeatureInfo{
	{FeatureSubmitAll, "submit_all", "5.18", "a bad request does not stop its batch", "the rest is submitted again", true},
	{FeatureCoopTaskrun, "coop_taskrun", "5.19", "no interrupt per completion", "the kernel interrupts the submitting thread", true},
	{FeatureTaskrunFlag, "taskrun_flag", "5.19", "a spinning reader sees that completions wait", "BusyPoll asks the kernel each time", true},
	{FeaturePollFirst, "recv_poll_first", "5.19", "skips a receive that would find nothing", "each receive is tried first", false},
	{FeatureSkipSuccess, "cqe_skip_success", "5.17", "a send that succeeds at once posts no completion", "each send posts one", true},
	{FeatureExtArg, "ext_arg", "5.11", "a wait with a timeout", "a timer of the runtime ends the wait of a loop", true},
	{FeatureNoSQArray, "no_sqarray", "6.6", "one cache line less per submission", "the identity array is used", true},
	{FeatureSingleIssuer, "single_issuer", "6.0", "cheaper submission from one thread", "loops do without", true},
	{FeatureDeferTaskrun, "defer_taskrun", "6.1", "completions run in batches, when asked for", "loops take completions as they come", true},
	{FeatureMultishotAccept, "multishot_accept", "5.19", "one request accepts many connections", "a request per connection", true},
	{FeatureMultishotRecv, "multishot_recv", "6.0", "one request receives many times", "a request per receive", true},
	{FeatureBufferRing, "buffer_ring", "5.19", "no buffer per idle connection", "loops wait for data, then receive", true},
	{FeatureBufferRingInc, "buffer_ring_inc", "6.12", "one big buffer takes many receives", "a buffer of one of two sizes per receive", true},
	{FeatureBundles, "recvsend_bundle", "6.10", "one completion for many buffers", "not used: a turn sends once per connection anyway", false},
	{FeatureSendZC, "send_zc", "6.0", "large sends without a copy on real network cards", "sends copy", true},
	{FeatureSendmsgZC, "sendmsg_zc", "6.1", "the same for vectors", "vectors are copied", true},
	{FeatureMinTimeout, "min_timeout", "6.12", "waits that gather bigger batches", "not used: it would delay", false},
	{FeatureNAPI, "napi", "6.9", "busy polling of the network card", "the card interrupts", true},
	{FeatureSyncCancel, "sync_cancel", "6.0", "frees the memory of a loop whose ring failed", "such memory stays mapped", true},
	{FeatureSendWaitAll, "send_waitall", "6.1", "a send that posts nothing on success says how much it has sent when that is a part", "each send posts a completion", true},
	{FeatureRestrictions, "restrictions", "5.10", "a ring does only what this library asks of it, whoever gets hold of it", "a ring does all that the kernel can", true},
	{FeatureSockNonempty, "sock_nonempty", "5.19", "a receive that emptied a TCP socket is not followed by one that finds nothing", "receives go on until one finds nothing", true},
	{FeatureUnixNonempty, "unix_nonempty", "6.17", "the same for unix sockets", "receives go on until one finds nothing", true},
	{FeatureAcceptDontwait, "accept_dontwait", "6.10", "an accept through the ring never waits in the kernel", "accept4 is called directly", true},
}

// Has reports whether f holds all of want.
func (f Features) Has(want Features) bool { return f&want == want }

// String lists the names, comma separated, or "none".
func (f Features) String() string {
	var names []string
	for _, info := range FeatureTable {
		if f.Has(info.Bit) {
			names = append(names, info.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// Len returns how many features f holds.
func (f Features) Len() int { return bits.OnesCount64(uint64(f)) }

// ParseFeatures reads a comma separated list of names, as String prints them;
// "all" and "none" are understood. An unknown name is an error that lists the
// known ones.
func ParseFeatures(list string) (Features, error) {
	var f Features
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case "", "none":
			continue
		case "all":
			f |= AllFeatures
			continue
		}
		bit, ok := featureByName(name)
		if !ok {
			return 0, fmt.Errorf("unknown io_uring feature %q (known: %s)", name, AllFeatures)
		}
		f |= bit
	}
	return f, nil
}

func featureByName(name string) (Features, bool) {
	for _, info := range FeatureTable {
		if info.Name == name {
			return info.Bit, true
		}
	}
	return 0, false
}
