// The benchmark functions in Go. See languages/README.md.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

type line struct{ value string }
type word struct{ word string }
type pair struct{ a, b float64 }
type scaled struct{ out float64 }
type payment struct{ amount int64 }
type total struct{ total int64 }
type keyTotal struct {
	key   string
	total int64
}
type group struct {
	key      string
	old      *total
	payments []payment
}

func split(row line, out *[]word) {
	for _, w := range strings.Fields(row.value) {
		*out = append(*out, word{w})
	}
}

func scale(row pair) scaled {
	return scaled{row.a*2.5 + row.b}
}

func add(payments []payment, old *total) total {
	var sum int64
	if old != nil {
		sum = old.total
	}
	for _, p := range payments {
		sum += p.amount
	}
	return total{sum}
}

// output is the output of a call: the number of rows, and the number of each row that the check sums.
type output struct {
	rows   int
	number func(row int) float64
}

// The output of a call stays alive until the next call, as rows that a stage passes on.
var kept output

var works = map[string]func(lines []string) func() output{
	"split rows": func(lines []string) func() output {
		var rows []line
		for _, l := range lines {
			rows = append(rows, line{l})
		}
		return func() output {
			var out []word
			for _, row := range rows {
				split(row, &out)
			}
			return output{len(out), func(row int) float64 { return float64(len(out[row].word)) }}
		}
	},
	"split columns": func(lines []string) func() output {
		return func() output {
			var out []string
			for _, l := range lines {
				out = append(out, strings.Fields(l)...)
			}
			return output{len(out), func(row int) float64 { return float64(len(out[row])) }}
		}
	},
	"numeric rows": func(lines []string) func() output {
		var rows []pair
		for _, l := range lines {
			f := strings.Fields(l)
			rows = append(rows, pair{float(f[0]), float(f[1])})
		}
		return func() output {
			out := make([]scaled, 0, len(rows))
			for _, row := range rows {
				out = append(out, scale(row))
			}
			return output{len(out), func(row int) float64 { return out[row].out }}
		}
	},
	"numeric columns": func(lines []string) func() output {
		var a, b []float64
		for _, l := range lines {
			f := strings.Fields(l)
			a, b = append(a, float(f[0])), append(b, float(f[1]))
		}
		return func() output {
			out := make([]float64, len(a))
			for i := range out {
				out[i] = a[i]*2.5 + b[i]
			}
			return output{len(out), func(row int) float64 { return out[row] }}
		}
	},
	"total rows": func(lines []string) func() output {
		var groups []group
		for _, l := range lines {
			f := strings.Fields(l)
			g := group{key: f[0], old: &total{integer(f[1])}}
			for _, amount := range f[2:] {
				g.payments = append(g.payments, payment{integer(amount)})
			}
			groups = append(groups, g)
		}
		return func() output {
			var states []total
			var out []keyTotal
			for _, g := range groups {
				state := add(g.payments, g.old)
				states = append(states, state)
				out = append(out, keyTotal{g.key, state.total})
			}
			return output{len(out), func(row int) float64 { return float64(out[row].total) }}
		}
	},
	"total columns": func(lines []string) func() output {
		var keys []string
		var olds, amounts []int64
		var ends []int
		for _, l := range lines {
			f := strings.Fields(l)
			keys, olds = append(keys, f[0]), append(olds, integer(f[1]))
			for _, amount := range f[2:] {
				amounts = append(amounts, integer(amount))
			}
			ends = append(ends, len(amounts))
		}
		return func() output {
			totals, outKeys, start := make([]int64, len(keys)), make([]string, len(keys)), 0
			copy(outKeys, keys)
			for i, end := range ends {
				sum := olds[i]
				for _, amount := range amounts[start:end] {
					sum += amount
				}
				totals[i], start = sum, end
			}
			return output{len(totals), func(row int) float64 { return float64(totals[row]) }}
		}
	},
}

func float(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func integer(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func main() {
	text, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	rows := float(os.Args[4])
	run := works[os.Args[1]+" "+os.Args[2]](strings.Split(strings.TrimSpace(string(text)), "\n"))
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		if commands.Text() == "check" {
			all, sum := run(), 0.0
			for row := range all.rows {
				sum += all.number(row) * float64(row%1000)
			}
			fmt.Println(all.rows, sum)
			continue
		}
		calls := integer(commands.Text())
		start := time.Now()
		for range calls {
			kept = run()
		}
		fmt.Println(float64(time.Since(start).Nanoseconds()) / float64(calls) / rows)
	}
}
