//! From coordinates as they are told to metres in a plane.

use super::Point;
use api::site::Location;

/// The earth's mean radius in metres.
const EARTH_M: f64 = 6_371_008.8;

/// A plane in which distances are measured.
///
/// Degrees become metres about an origin by the equirectangular projection, which is off by less
/// than a hundredth within a few hundred kilometres of it, away from the poles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plane {
    /// Coordinates are metres already.
    Metres,
    /// Coordinates are degrees.
    Degrees {
        /// The origin's latitude.
        latitude: f64,
        /// The origin's longitude.
        longitude: f64,
    },
}

impl Plane {
    /// The plane about a site.
    pub fn about(location: Location) -> Self {
        match location {
            Location::Metres { .. } => Self::Metres,
            Location::Degrees { latitude, longitude } => Self::Degrees { latitude, longitude },
        }
    }

    /// Whether coordinates are degrees.
    pub fn is_degrees(&self) -> bool {
        matches!(self, Self::Degrees { .. })
    }

    /// Where a site is; nothing if that is told in another way than the plane.
    pub fn site(&self, location: Location) -> Option<Point> {
        match location {
            Location::Metres { x, y } if !self.is_degrees() => self.point(x, y),
            Location::Degrees { latitude, longitude } if self.is_degrees() => {
                self.point(longitude, latitude)
            }
            _ => None,
        }
    }

    /// The place of what lies to the east and to the north; nothing if it is no place.
    pub fn point(&self, east: f64, north: f64) -> Option<Point> {
        let sound = |location: Location| location.is_sound();
        match *self {
            Self::Metres => {
                let place = Point { x_m: east, y_m: north };
                sound(Location::Metres { x: east, y: north }).then_some(place)
            }
            Self::Degrees { latitude, longitude } => {
                let told = Location::Degrees { latitude: north, longitude: east };
                // The short way around.
                let turned = (east - longitude + 540.0).rem_euclid(360.0) - 180.0;
                let x_m = EARTH_M * turned.to_radians() * latitude.to_radians().cos();
                let y_m = EARTH_M * (north - latitude).to_radians();
                sound(told).then_some(Point { x_m, y_m })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_metres_on_the_ground() {
        let place = |latitude, longitude| Location::Degrees { latitude, longitude };
        // Tarragona's cathedral and its railway station.
        let plane = Plane::about(place(41.1192, 1.2582));
        let station = plane.site(place(41.1118, 1.2534)).unwrap();
        let away = Point { x_m: 0.0, y_m: 0.0 }.to(station);
        assert!((away - 917.0).abs() < 10.0, "{away}");

        let pacific = Plane::about(place(0.0, 179.9));
        let east = pacific.point(-179.9, 0.0).unwrap();
        assert!((east.x_m - 22_239.0).abs() < 10.0, "{east:?}");
        for (east, north) in [(f64::NAN, 0.0), (0.0, 91.0), (f64::INFINITY, 0.0), (181.0, 0.0)] {
            assert_eq!(pacific.point(east, north), None);
        }
        assert_eq!(Plane::Metres.point(f64::NAN, 1.0), None);
        assert_eq!(Plane::Metres.site(place(1.0, 1.0)), None, "other coordinates");
    }
}
