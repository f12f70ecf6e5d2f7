"""The running platform answers the configured requests with the statuses that it should."""

from __future__ import annotations

import os
from collections.abc import Iterable

from opssight_migrate import web
from opssight_migrate.checks.base import Check, CheckContext
from opssight_migrate.model.plan import Finding, Severity
from opssight_migrate.opssight import revisions
from opssight_migrate.web import NoAnswerError, Request


class PlatformAnswers(Check):
    """GETs, in no transaction: a slow platform must not hold a snapshot open in the database."""

    id = "platform-answers"
    title = "The running platform answers as it should"
    category = "functional"
    needs = revisions.START

    def skipped(self, ctx: CheckContext) -> str | None:
        """There must be something to ask, and of a platform that belongs to this environment."""
        return None if ctx.requests else "not configured: [verify.http] names nothing to ask here"

    def run(self, ctx: CheckContext) -> Iterable[Finding]:
        """Ask the database nothing."""
        del ctx
        return ()

    def rehearse(self, ctx: CheckContext) -> Iterable[Finding]:
        """Send each request once."""
        for request in ctx.requests:
            try:
                status = web.status_of(request, os.environ)
            except NoAnswerError as why:
                yield self._finding(request, f"{request.name}: {why}")
                continue
            if status != request.status:
                told = f"{request.name}: the platform answers {status}, and not {request.status}"
                yield self._finding(request, told)

    def _finding(self, request: Request, message: str) -> Finding:
        return Finding(
            check_id=self.id,
            severity=Severity.FAIL,
            message=message,
            where=request.shown,
            hint=f"look at the platform's log, or correct [verify.http.{request.name}]",
        )
