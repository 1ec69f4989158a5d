"""Questions to an OpenAI-compatible endpoint whose answers are JSON of a known form, or no answer at all."""

import json
import os
import re
from functools import cached_property
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weightgen.errors import DataError
from weightgen.extras import optional
from weightgen.network import public_address

Answer = TypeVar("Answer", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Prompts(_Strict):
    """{"prompts": ["...", ...]}"""

    prompts: list[str] = Field(min_length=1)


class Said(_Strict):
    """One prompt and other ways to say it."""

    prompt: str
    paraphrases: list[str]


class Paraphrases(_Strict):
    """{"paraphrases": [{"prompt": "...", "paraphrases": ["...", ...]}, ...]}"""

    paraphrases: list[Said] = Field(min_length=1)


def read_answer(text: object, form: type[Answer]) -> Answer:
    """The model's words -> `form`. ValueError: not this form.

    Besides the form itself: in a Markdown fence; the bare list; the list under another single name; and for prompts
    objects in the list with a "prompt" or one single value. Small models write these whatever they are asked.
    """
    if not isinstance(text, str):
        raise ValueError("the answer holds no text")
    fenced = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    data = json.loads(fenced.group(1) if fenced else text)
    (field,) = form.model_fields
    if isinstance(data, dict) and len(data) == 1:
        (data,) = data.values()
    if form is Prompts and isinstance(data, list):
        data = [_prompt_of(item) for item in data]
    return form.model_validate({field: data})


def _prompt_of(item: object) -> object:
    if not isinstance(item, dict):
        return item
    return next(iter(item.values())) if len(item) == 1 else item.get("prompt")


class LlmClient:
    """A chat model that answers in JSON.

    The key is read from the environment variable `key_env` when the first question is asked, and cut out of every
    message. A server without keys needs none.
    """

    def __init__(
        self, model: str, base_url: str | None, key_env: str, timeout: float, retries: int, temperature: float | None
    ) -> None:
        self.model, self.base_url, self.key_env = model, base_url, key_env
        self.timeout, self.retries, self.temperature = timeout, retries, temperature
        self.questions = self.bad_answers = 0
        self.last_bad = ""
        self._schema = True  # until the endpoint refuses response_format

    @property
    def key(self) -> str:
        return os.environ.get(self.key_env, "")

    @cached_property
    def _openai(self) -> ModuleType:
        return optional("openai", "llm", "concepts=llm")

    @cached_property
    def _client(self) -> Any:
        return self._openai.OpenAI(
            api_key=self.key or "none", base_url=self.base_url, timeout=self.timeout, max_retries=self.retries
        )

    def ask(self, question: str, form: type[Answer], tries: int = 2) -> Answer | None:
        """-> the answer, or None if `tries` answers in a row were not of the form.

        Time-outs, 429 and 5xx are tried again by the openai client, `retries` times with exponential back-off. DataError:
        the endpoint cannot be reached, fails to the end, or refuses the key, the model or the question.
        """
        for _ in range(tries):
            self.questions += 1
            try:
                return read_answer(self._say(question, form), form)
            except (ValueError, ValidationError, LookupError, TypeError, AttributeError) as error:
                self.bad_answers += 1
                self.last_bad = self._safe(error)
            except self._openai.OpenAIError as error:
                raise self._failure(error) from None  # its request object holds the key
        return None

    def _say(self, question: str, form: type[BaseModel]) -> object:
        options: dict = {} if self.temperature is None else {"temperature": self.temperature}
        if self._schema:
            schema = {"name": form.__name__.lower(), "schema": form.model_json_schema(), "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        try:
            answer = self._client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": question}], **options
            )
        except (self._openai.BadRequestError, self._openai.UnprocessableEntityError):
            if not self._schema:
                raise
            self._schema = False  # not every compatible server knows response_format
            return self._say(question, form)
        return answer.choices[0].message.content

    def _safe(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        if self.base_url:
            text = text.replace(self.base_url, public_address(self.base_url))
        return (text.replace(self.key, "***") if self.key else text)[:200]

    def _failure(self, error: Exception) -> DataError:
        openai = self._openai
        where = f"concepts=llm: {public_address(self.base_url) if self.base_url else 'the OpenAI endpoint'} "
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            state = "does not take the key in" if self.key else "wants a key, and there is none in"
            return DataError(f"{where}{state} the environment variable {self.key_env}; export {self.key_env}=<key>")
        if isinstance(error, openai.NotFoundError):
            return DataError(
                f"{where}has no chat model {self.model!r}; set concepts.model=<one it has>, and concepts.base_url to "
                "the address that ends before /chat/completions (most end in /v1)"
            )
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return DataError(f"{where}refuses the question ({self._safe(error)}); try another concepts.model")
        return DataError(
            f"{where}gave no answer ({self._safe(error)}): run the same command again, it asks only for what is missing; "
            "or set concepts.base_url, or use concepts=file or concepts=grammar, which need no endpoint"
        )
