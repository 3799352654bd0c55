"""Access to the data of the twin: identities, permissions, the audit log, and private aggregates.

A gate (`gate`) checks a signed token (`identity`) and the table of permissions (`table`), and records every decision in a log
whose changes are found (`audit`, `checkpoints`, `verification`). Operators get means over all users with differential privacy
(`privacy`), paid from a budget (`ledger`).
"""

from iomt_core.twin.access.audit import AuditLog as AuditLog
from iomt_core.twin.access.audit import Event as Event
from iomt_core.twin.access.errors import AccessError as AccessError
from iomt_core.twin.access.errors import AuditError as AuditError
from iomt_core.twin.access.errors import BudgetSpentError as BudgetSpentError
from iomt_core.twin.access.errors import KeyFileError as KeyFileError
from iomt_core.twin.access.errors import RefusedError as RefusedError
from iomt_core.twin.access.errors import TokenError as TokenError
from iomt_core.twin.access.gate import Gate as Gate
from iomt_core.twin.access.gate import Grant as Grant
from iomt_core.twin.access.identity import Identity as Identity
from iomt_core.twin.access.table import AGGREGATES as AGGREGATES
from iomt_core.twin.access.table import AUDIT as AUDIT
from iomt_core.twin.access.table import MODELS as MODELS
from iomt_core.twin.access.table import OBSERVATIONS as OBSERVATIONS
from iomt_core.twin.access.table import STATE as STATE
from iomt_core.twin.access.table import TRACES as TRACES
from iomt_core.twin.access.table import TWINS as TWINS
from iomt_core.twin.access.table import Resource as Resource
from iomt_core.twin.access.table import warehouse_of as warehouse_of
from iomt_core.twin.access.verification import Verification as Verification
from iomt_core.twin.access.verification import verify_log as verify_log
