package conformance

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Case is one property that holds on every row and network it is for.
type Case struct {
	Name string
	Run  func(t *testing.T, e *Env)
	// Core cases run on the core rows too.
	Core bool
	// TCP cases are not for unix sockets, Unix cases only for them.
	TCP, Unix bool
	// Linux cases state what only that kernel does.
	Linux bool
	// Accepted cases are about Accept, and not for rows that serve.
	Accepted bool
}

// Cases returns the whole suite for a row.
func Cases(r Row) []Case {
	connections := slices.Concat(octezCases, addressCases, resolveCases, selfConnectCases, pathCases, fileCases, setterCases, lostCases, textCases, endCases, halfCases, closeCases, deadlineCases, timeCases,
		dataCases, waitCases, rawCases, rawLinuxCases, happensCases, concurrencyCases, bubbleCases, eventCases, optionCases, allocCases, backendCases, closingCases)
	if r.Served {
		return slices.Concat(connections, serveCases, dataHandlerCases, handlerCases, drainCases, broadcastCases, pressureCases, bubbleServeCases, closingServeCases, limitCases,
			happensInHandlersCases, lastWordsInHandlersCases, dataDeadlineCases, handlerTimeCases, coroutineCases, upstreamCases)
	}
	return slices.Concat(connections, connectCases, listenCases, acceptCases)
}

// Run runs the suite over one row.
func Run(t *testing.T, r Row) {
	for _, network := range Networks() {
		t.Run(network, func(t *testing.T) {
			for _, c := range Cases(r) {
				if c.on(r, network) {
					t.Run(c.Name, func(t *testing.T) {
						c.Run(t, &Env{Row: r, Network: network, Backend: r.Open(t)})
					})
				}
			}
		})
	}
}

// times is how often a case tries its luck that would do so n times: on a core row a
// quarter as often. There are so many of these that each race is met as often as on
// the others.
func (e *Env) times(n int) int {
	if e.Row.Core {
		return max(1, n/4)
	}
	return n
}

func (c Case) on(r Row, network string) bool {
	tcp := strings.HasPrefix(network, "tcp")
	if network == "tcp6" && (r.Core || testing.Short()) { // neither a feature nor a data race knows of a family of addresses
		return false
	}
	return !(r.Core && !c.Core || r.Served && c.Accepted || c.TCP && !tcp || c.Unix && tcp || c.Linux && runtime.GOOS != "linux")
}
