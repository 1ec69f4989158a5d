"""Concepts: where prompts and their splits come from."""

from weightgen.choices import Choices

CONCEPTS = Choices(
    "concepts",
    {
        "file": "weightgen.data.concepts.files:FileConcepts",
        "grammar": "weightgen.data.concepts.grammar:GrammarConcepts",
        "list": "weightgen.data.concepts.list:ListConcepts",
        "llm": "weightgen.data.concepts.llm:LlmConcepts",
        "styles": "weightgen.data.concepts.styles:StyleConcepts",
    },
)
