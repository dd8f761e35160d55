package main

import (
	"math"
	"testing"

	"millstream.dev/sdk/millstreamtest"
)

func TestDistances(t *testing.T) {
	quarter := math.Pi / 2 * earthM
	for _, test := range []struct {
		latitude, longitude, otherLatitude, otherLongitude, want float64
	}{
		{52.52, 13.405, 52.52, 13.405, 0},
		{90, 0, 0, 77, quarter},
		{0, 0, 0, 180, 2 * quarter},
		{0, 179.5, 0, -179.5, quarter / 90},
		// Berlin and Paris.
		{52.52, 13.405, 48.8566, 2.3522, 877_464},
	} {
		got := distanceM(test.latitude, test.longitude, test.otherLatitude, test.otherLongitude)
		if math.Abs(got-test.want) > 1 {
			t.Errorf("%+v: got %v", test, got)
		}
	}
}

func TestWhatIsNoPositionIsRefused(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Key: "car text"})
	run := test.Run(`[{"car": "a", "latitude": 0, "longitude": 0, "at": 0},
		{"car": "a", "latitude": 91, "longitude": 0, "at": 1000000},
		{"car": "b", "latitude": 1, "longitude": 1, "at": 0}]`)
	run.WantRows(`[{"car": "b", "latitude": 1, "longitude": 1, "at": 0,
		"distance_m": null, "speed_mps": null, "total_m": 0}]`)
	run.WantRejected(
		millstreamtest.Rejected{Row: 0, Reason: "91, 0 is not a latitude and longitude"},
		millstreamtest.Rejected{Row: 1, Reason: "91, 0 is not a latitude and longitude"},
	)
	test.WantStates(`[{"car": "b", "latitude": 1, "longitude": 1, "at": 0, "total_m": 0}]`)
}

func TestPositionsInTheWrongOrderAndJumpsAreLeftOut(t *testing.T) {
	test := millstreamtest.New(t, millstreamtest.Stage{Key: "car text", Config: `{"speed_mps_max": 200}`})
	run := test.Run(`[{"car": "a", "latitude": 0, "longitude": 0, "at": 10000000},
		{"car": "a", "latitude": 0, "longitude": 0.001, "at": 9000000},
		{"car": "a", "latitude": 50, "longitude": 0, "at": 11000000},
		{"car": "a", "latitude": 0.0001, "longitude": 0, "at": 10000000},
		{"car": "a", "latitude": 0, "longitude": 0.001, "at": 11000000}]`)
	run.WantRows(`[{"car": "a", "latitude": 0, "longitude": 0, "at": 10000000,
			"distance_m": null, "speed_mps": null, "total_m": 0},
		{"car": "a", "latitude": 0, "longitude": 0.001, "at": 11000000,
			"distance_m": 111.195, "speed_mps": 111.195, "total_m": 111.195}]`)
}
