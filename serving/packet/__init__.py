"""Evidence in words and as a packet for a file: what speaks for and against fraud, and HTML."""

from .findings import Finding as Finding
from .findings import Findings as Findings
from .findings import findings_of as findings_of
from .packet import Packet as Packet
from .packet import packet_of as packet_of
from .personal import PROFILES as PROFILES
from .personal import Profile as Profile
from .personal import profile_of as profile_of
