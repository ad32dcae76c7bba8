"""The verbs of feedback, one module a noun; they speak only ports and domain."""

from plimsoll_feedback.service.feedback import FeedbackService

__all__ = ["FeedbackService"]
