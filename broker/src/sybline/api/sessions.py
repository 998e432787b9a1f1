"""Login and LogOut. A login returns when its token is replicated, so every member knows it (S-1)."""

from sybline import limits
from sybline.api.call import TOKEN_KEY, USERNAME_KEY, Call
from sybline.api.credentials import Credentials
from sybline.api.gate import Gate
from sybline.api.handlers import OK_STATUS
from sybline.api.parts import ApiParts
from sybline.api.refusals import invalid_login, refusal
from sybline.api.validation import check_credentials
from sybline.auth.tokens import hash_token, new_consumer, new_token
from sybline.state_machine.account_reads import Credential
from sybline.state_machine.commands import CloseSession, OpenSession
from sybline.state_machine.replies import Reason, Refused
from sybline.v1 import mq_pb2

_NO_TOKEN = b""


class Sessions:
    """How sessions begin and end."""

    def __init__(self, parts: ApiParts, gate: Gate, credentials: Credentials) -> None:
        self._gate = gate
        self._credentials = credentials
        self._token_ms = parts.token_ms

    async def login(self, call: Call, request: mq_pb2.Credentials) -> bytes:
        """Check a password and answer with a token, in the response headers and in no other key (wire §3)."""
        check_credentials(request)
        await self._gate.catch_up(call)  # the password that counts is the one of now
        for _ in range(limits.CREDENTIAL_LOOKS_MAX):
            credential = await self._check_password(call, request)
            token = new_token()
            if await self._open(call, credential, token):
                pair = ((USERNAME_KEY, credential.username), (TOKEN_KEY, token))
                await call.context.send_initial_metadata(pair)
                return OK_STATUS
        raise invalid_login()

    async def log_out(self, call: Call, _: mq_pb2.LogOutRequest) -> bytes:
        """End the session; its leases return uncounted (S-5)."""
        await self._gate.carry_out(call, CloseSession(call.caller))
        return OK_STATUS

    async def _check_password(self, call: Call, request: mq_pb2.Credentials) -> Credential:
        username = request.username
        self._credentials.check_throttle(call, username)
        credential = self._credentials.of(username)
        is_right = await self._credentials.matches(call, request.password, credential)
        if credential is None or not is_right:
            raise self._credentials.failed(call, username)
        self._credentials.succeeded(call, username)
        return credential

    async def _open(self, call: Call, credential: Credential, token: str) -> bool:
        """Return whether the session is open; False: the password was changed meanwhile, look again."""
        command = OpenSession(
            credential.username,
            credential.epoch,
            hash_token(token),
            new_consumer(),
            self._token_ms(),
            _older_token_hash(call, credential.username),
        )
        reply = await self._gate.propose(call, command)
        if isinstance(reply, Refused):
            if reply.reason is Reason.INVALID_LOGIN:
                return False
            raise refusal(reply)
        return True


def _older_token_hash(call: Call, username: str) -> bytes:
    """Return the hash of the token to resume, if the caller shows an older pair of the same user (S-6)."""
    if call.headers.get(USERNAME_KEY) != username:
        return _NO_TOKEN
    token = call.headers.get(TOKEN_KEY)
    return _NO_TOKEN if token is None else hash_token(token)
