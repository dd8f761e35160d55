// Distance and speed between successive positions of a key, such as a vehicle.
package main

import (
	"math"

	millstream "millstream.dev/sdk"
)

// Position is what is read.
type Position struct {
	Latitude  float64
	Longitude float64
	At        millstream.Timestamp
}

// Last is the state: the latest position of the key, and the way to it.
type Last struct {
	Latitude  float64
	Longitude float64
	At        millstream.Timestamp
	TotalM    float64
}

// Move is what is returned for a position, after the columns of the key. Distance and speed are null for the first.
type Move struct {
	Latitude  float64
	Longitude float64
	At        millstream.Timestamp
	DistanceM *float64
	SpeedMps  *float64
	TotalM    float64
}

// Config is the stage's config.
type Config struct {
	// SpeedMpsMax is the speed above which a position is taken for an error of measurement; 0: none is.
	SpeedMpsMax float64 `json:"speed_mps_max"`
}

var (
	config = millstream.Config(Config{})
	_      = millstream.ConfigSchema(`{
  "type": "object",
  "properties": {"speed_mps_max": {"type": "number", "minimum": 0}},
  "additionalProperties": false
}`)
)

func init() {
	millstream.Update(moves)
}

// moves follows a key from position to position.
func moves(
	_ *millstream.Context, _ millstream.AnyKey, positions []Position, last *Last, out *millstream.KeyedOut[Move],
) (*Last, error) {
	for _, position := range positions {
		if !isOnEarth(position) {
			return nil, millstream.Reject("%v, %v is not a latitude and longitude", position.Latitude, position.Longitude)
		}
		if last == nil {
			last = &Last{position.Latitude, position.Longitude, position.At, 0}
			out.Push(Move{Latitude: position.Latitude, Longitude: position.Longitude, At: position.At})
			continue
		}
		if position.At < last.At {
			millstream.Count("late_positions", 1)
			continue
		}
		distance := distanceM(last.Latitude, last.Longitude, position.Latitude, position.Longitude)
		speed := speedMps(distance, position.At-last.At)
		if config.SpeedMpsMax > 0 && distance > 0 && (speed == nil || *speed > config.SpeedMpsMax) {
			millstream.Count("jumps", 1)
			continue
		}
		*last = Last{position.Latitude, position.Longitude, position.At, thousandths(last.TotalM + distance)}
		out.Push(Move{position.Latitude, position.Longitude, position.At, &distance, speed, last.TotalM})
	}
	return last, nil
}

// isOnEarth is false for NaN, too.
func isOnEarth(position Position) bool {
	return math.Abs(position.Latitude) <= 90 && math.Abs(position.Longitude) <= 180
}

// speedMps is nil where no time has passed.
func speedMps(distance float64, time millstream.Timestamp) *float64 {
	if time == 0 {
		return nil
	}
	speed := thousandths(distance / (float64(time) / 1e6))
	return &speed
}

// earthM is the mean radius of the earth.
const earthM = 6_371_008.8

// distanceM is the great-circle distance between two positions in degrees, on a sphere, by the haversine formula. It is up to
// 0.6 % off, as the earth is not a sphere.
func distanceM(latitude, longitude, otherLatitude, otherLongitude float64) float64 {
	const radians = math.Pi / 180
	north := math.Sin((otherLatitude - latitude) * radians / 2)
	east := math.Sin((otherLongitude - longitude) * radians / 2)
	square := north*north + math.Cos(latitude*radians)*math.Cos(otherLatitude*radians)*east*east
	return thousandths(2 * earthM * math.Asin(math.Min(1, math.Sqrt(square))))
}

// thousandths rounds to what measurements may mean at most.
func thousandths(number float64) float64 { return math.Round(number*1000) / 1000 }

func main() {}
