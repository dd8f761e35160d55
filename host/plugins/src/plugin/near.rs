//! Addresses that a granted name must not lead to: this machine's own, those of its own link, and those from which clouds give
//! out credentials, in every notation. The owner of a name decides about its addresses, and may change them at any time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Metadata services of clouds that are not link-local: AWS over IPv6, Alibaba, Oracle, Azure.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Whether an address must not be reached through a foreign host name. Addresses of interfaces are read each time, because they change.
pub fn is_near(address: IpAddr) -> bool {
    matches(address, is_own)
}

fn matches(address: IpAddr, is_own: fn(IpAddr) -> bool) -> bool {
    let reserved = match address {
        // `0.…` is this machine, too.
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_link_local() || ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || is_site_local(ip)
        }
    };
    let embedded = || match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => embedded(ip).into_iter().any(|ip| matches(IpAddr::V4(ip), is_own)),
    };
    reserved || METADATA.contains(&address) || embedded() || is_own(address)
}

/// `fec0::/10`, which is deprecated and was for one site.
fn is_site_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfec0
}

/// Addresses of version 4 that routers or this machine may take out of one of version 6: mapped, compatible, translated
/// (RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), ISATAP (RFC 5214), and both of Teredo (RFC 4380).
fn embedded(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bytes = ip.octets();
    let v4 = |at: [usize; 4]| Ipv4Addr::from(at.map(|at| bytes.get(at).copied().unwrap_or_default()));
    let last = v4([12, 13, 14, 15]);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // The prefix length of a local NAT64 is unknown, and decides where the address is. It has no `0.…`.
        [0x64, 0xff9b, 1, ..] => {
            let all = [v4([6, 7, 9, 10]), v4([7, 9, 10, 11]), v4([9, 10, 11, 12]), last];
            all.into_iter().filter(|ip| ip.octets()[0] != 0).collect()
        }
        [0x2002, ..] => vec![v4([2, 3, 4, 5])],
        [0x2001, 0, ..] => vec![v4([4, 5, 6, 7]), Ipv4Addr::from(u32::from(last) ^ u32::MAX)],
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    }
}

/// Whether the system delivers to itself what is sent there. Nothing is sent: connecting a datagram socket chooses the address
/// that it would be sent from, and for one of this machine that is the address itself.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Any port will do.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_this_machine_and_of_its_link_are_near() {
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(is_near(ip(near)), "{near}");
        }
        // Of other networks: an internal name is granted as any other.
        for far in ["10.255.0.1", "192.168.255.1", "93.184.216.34", "2001:db8::1", "fd00::1", "fd00:ec2::253"] {
            assert!(!matches(ip(far), |_| false), "{far}");
        }
    }

    #[test]
    fn every_notation_of_a_near_address_is_near() {
        for near in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:7f00:0:100::",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "2001:0:7f00:1::",
            "2001::80ff:fffe",
            "fd00::5efe:127.0.0.1",
            "2001:db8::200:5efe:169.254.169.254",
        ] {
            assert!(is_near(ip(near)), "{near}");
        }
        for far in [
            "::ffff:93.184.216.34",
            "64:ff9b::93.184.216.34",
            "64:ff9b:1::93.184.216.34",
            "2002:5db8:d822::1",
            "2001:0:5db8:d822::a247:27dd",
            "2001:db8:7f00:1::1",
        ] {
            assert!(!matches(ip(far), |_| false), "{far}");
        }
    }

    #[test]
    fn addresses_of_interfaces_are_near_in_every_notation() {
        let own = |address: IpAddr| address == IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        for near in ["192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::192.0.2.7", "2002:c000:207::1"] {
            assert!(matches(ip(near), own), "{near}");
        }
        assert!(!matches(ip("192.0.2.8"), own));
        assert!(is_own(ip("127.0.0.1")) && !is_own(ip("203.0.113.77")));
    }
}
